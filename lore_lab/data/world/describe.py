"""The world's datasheet: counts and hashes per split, an example of every rule, a sheet of drawn items with their captions."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from lore_lab.data.example import CAPABILITIES, FREQUENCIES, Example, Split
from lore_lab.data.world.source import GRADES, WorldSource

if TYPE_CHECKING:
    from PIL.Image import Image

SPLITS: tuple[Split, ...] = ("train", "validation", "wild", "unseen", "general", "hard", "visual", "rule")


def datasheet(source: WorldSource, splits: Iterable[Split] = SPLITS) -> str:
    """Markdown: a line of shares for every split, then what the rules do in training."""
    head = ["split", "pairs", "queries", *GRADES, *CAPABILITIES, *FREQUENCIES, "sha256"]
    lines = [_row(head), _row(["---"] * len(head))]
    for split in splits:
        lines.append(_row(_counts(split, list(source.examples(split)))))
    return "\n".join([*lines, "", rule_table(source)])


def _row(cells: Iterable[object]) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def _counts(split: Split, examples: list[Example]) -> list[object]:
    """One line: sizes, then shares in per cent of gold grades, capabilities and frequencies, then the hash of the bytes."""
    total = max(1, len(examples))
    gold = Counter(example.gold for example in examples)
    capability = Counter(example.capability for example in examples)
    frequency = Counter(example.frequency for example in examples)
    counts = [gold[grade] for grade in range(len(GRADES))] + [capability[name] for name in CAPABILITIES]
    counts += [frequency[name] for name in FREQUENCIES]
    shares = [f"{100 * count / total:.0f}" for count in counts]
    return [split, len(examples), len({example.query for example in examples}), *shares, f"`{fingerprint(examples)}`"]


def fingerprint(examples: Iterable[Example]) -> str:
    """First 16 hex digits of a SHA-256 over all that the examples hold."""
    digest = hashlib.sha256()
    for example in examples:
        digest.update(repr(example).encode())
    return digest.hexdigest()[:16]


def rule_table(source: WorldSource, pairs: int = 20_000) -> str:
    """Markdown: every rule with its share of training pairs, how often it decides, and one pair it decides."""
    fired, decisive, shown = Counter[str](), Counter[str](), dict[str, Example]()
    ladder = source.book.ladder
    for index in range(pairs):
        example = source.example("train", index)
        if example.facts is None:
            continue
        changed = ladder(example.facts.matches) != example.gold
        for name in example.facts.rules:
            fired[name] += 1
            decisive[name] += changed
            if changed and len(example.facts.rules) == 1:
                shown.setdefault(name, example)
    lines = [_row(["rule", "fires %", "grade is not the ladder's %", "query", "title of the item", "gold"]), _row(["---"] * 6)]
    for rule in source.rules:
        pair = shown.get(rule.id)
        cells = [pair.query, pair.item["title"], GRADES[pair.gold]] if pair else ["", "", ""]
        lines.append(_row([f"`{rule.id}`", f"{100 * fired[rule.id] / pairs:.2f}", f"{100 * decisive[rule.id] / pairs:.2f}", *cells]))
    return "\n".join(lines)


def contact_sheet(source: WorldSource, split: Split = "wild", columns: int = 4, rows: int = 3) -> Image:
    """The first columns x rows items of a split, drawn at twice their size, each over its caption."""
    from PIL import Image, ImageDraw

    width, height, side = 230, 158, 128
    sheet = Image.new("RGB", (columns * width, rows * height), "white")
    pen = ImageDraw.Draw(sheet)
    for index in range(columns * rows):
        left, top = index % columns * width, index // columns * height
        picture = source.image(f"{split}-{index}").resize((side, side), Image.Resampling.NEAREST)
        sheet.paste(picture, (left + (width - side) // 2, top + 4))
        caption = source.example(split, index).item["caption"]
        pen.text((left + width // 2, top + side + 14), caption, fill="black", anchor="mm")
    return sheet
