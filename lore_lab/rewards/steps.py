"""What each step of the reasoning earns by itself, against gold facts: for stepwise credit."""

from __future__ import annotations

import math

from lore_lab.cot.parse import parse_reasoning
from lore_lab.cot.words import SECTIONS, clean, clean_name
from lore_lab.data.example import Example
from lore_lab.prompts.formats import Parsed
from lore_lab.rewards.rule_aware import f1, reasoning_parts


def step_rewards(parsed: Parsed, example: Example) -> list[float]:
    """One a section of SECTIONS, 0..1; nan for a section that is not there; all 0 for an invalid completion."""
    if parsed.grade is None:
        return [0.0] * len(SECTIONS)
    if example.facts is None:
        raise ValueError(f"rl.stepwise needs the facts behind a judgement, example {example.id!r} has none; take reward=exact")
    said = parse_reasoning(parsed.reasoning)
    shown = {clean_name(match.dimension): clean(match.found) for match in example.facts.matches if match.evidence == "caption"}
    parts = reasoning_parts(said, example.facts)
    values = {
        "needs": parts["needs"],
        "know": parts.get("knowledge", 1.0),
        "seen": f1(said.seen, shown),
        "path": parts["path"],
        "rules": parts["rules"],
    }
    there = {line.partition(": ")[0] for line in parsed.reasoning.split("\n")}
    return [values[section] if section in there else math.nan for section in SECTIONS]
