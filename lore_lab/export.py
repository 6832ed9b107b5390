"""A finished point as a Hugging Face model directory: one set of weights, its tokenizer, and a card that says what it is and what it is not."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lore_lab.stages.context import namespace
from lore_lab.stages.records import read_json
from lore_lab.stages.store import Artifact, Store, write_json

#: what is shown of a policy, where it was measured
_SHOWN = ("macro_f1", "acc@4", "acc@2", "invalid_rate", "optimistic_error_share", "ndcg@10", "pass@1")
RECIPE = "lore_lab.json"


@dataclass(frozen=True)
class Finished:
    """A finished point, its artifacts verified."""

    record: Mapping[str, Any]
    stages: Mapping[str, Artifact]  #: by role

    @classmethod
    def read(cls, root: Path, point: str) -> Finished:
        """Raises LookupError where there is no such point, it is not finished, or an artifact is missing or damaged."""
        found = sorted(path for path in root.glob("points/*/point.json") if path.parent.name.startswith(point))
        if len(found) != 1:
            raise LookupError(f"{len(found)} points under {root} begin with {point!r}; lore-lab status lists them")
        record = read_json(found[0])
        if record is None or record["state"] != "done":
            raise LookupError(f"point {found[0].parent.name} is not finished; run its command again")
        store = Store(root)
        stages = {stage["role"]: store.find(stage["stage"], stage["key"]) for stage in record["stages"]}
        missing = sorted(role for role, artifact in stages.items() if artifact is None)
        if missing:
            raise LookupError(
                f"point {record['point']} lacks {', '.join(missing)}; run its command again: python train.py {_words(record)}"
            )
        return cls(record, {role: artifact for role, artifact in stages.items() if artifact is not None})

    @property
    def policy(self) -> Artifact:
        """What the final evaluation judged."""
        key = self.stages["eval"].manifest["inputs"]["policy"]
        return next(artifact for artifact in self.stages.values() if artifact.key == key)


def _words(record: Mapping[str, Any]) -> str:
    return shlex.join(record["overrides"])


def export_point(root: Path, point: str, directory: Path) -> Path:
    """Write `directory`, whole or not at all. Raises FileExistsError where it is there already, LookupError as `Finished.read`."""
    if directory.exists():
        raise FileExistsError(f"{directory} is there already; export does not overwrite")
    finished = Finished.read(root, point)
    temporary = directory.with_name(f".{directory.name}.{os.getpid()}")
    temporary.mkdir(parents=True)
    try:
        example = _write_model(finished, temporary)
        recipe = {"config": finished.record["config"], "versions": _versions(finished)}
        write_json(temporary / RECIPE, recipe | {"stages": {role: artifact.key for role, artifact in finished.stages.items()}})
        (temporary / "README.md").write_text(card(finished, example), encoding="utf-8")
        temporary.rename(directory)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return directory


def _write_model(finished: Finished, folder: Path) -> str:
    """The merged model, generating as it was evaluated, and its tokenizer. Returns the prompt of the first test pair, as the model sees it."""
    from transformers import GenerationConfig

    import lore_lab.train.attention  # noqa: F401  (the policy may have been trained under it)
    from lore_lab.rollout.engine import end_ids
    from lore_lab.stages.functions.common import Pairs
    from lore_lab.train.common import load_policy

    model, tokenizer = load_policy(finished.policy.path, "cpu")
    settings = namespace(finished.record["config"])
    model.generation_config = GenerationConfig(
        do_sample=False,
        max_new_tokens=settings.eval.max_completion_length,
        eos_token_id=list(end_ids(model, int(tokenizer.eos_token_id))),
        pad_token_id=tokenizer.pad_token_id,
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    bench = Pairs.read(finished.stages["bench"])
    return str(tokenizer.decode(bench.renderer(settings, tokenizer).ids(bench.rows[0][1])))


def _versions(finished: Finished) -> dict[str, str]:
    return {name: version for artifact in finished.stages.values() for name, version in artifact.manifest["versions"].items()}


def card(finished: Finished, example: str) -> str:
    """The model card. Text that came from data stands in fenced blocks only."""
    record, config = finished.record, finished.record["config"]
    data = json.loads((finished.stages["data"].path / "source.json").read_text(encoding="utf-8"))
    grades = ", ".join(f"{number} {grade}" for number, grade in enumerate(data["grades"], 1))
    pairs = finished.stages["data"].metrics
    trained = [role for role in finished.stages if role in ("base", "sft", "dpo", "rl", "distill") and role != "base"]
    base = config["model"]["path"]
    return "\n".join(
        [
            "---",
            *([f"base_model: {json.dumps(base)}"] if base else []),
            "library_name: transformers",
            "pipeline_tag: text-generation",
            "tags: [search-relevance, lore_lab]",
            "---",
            f"# A search-relevance judge ({config['model']['name']}, {' + '.join(trained)})",
            "",
            f"Given a query and an item it writes one of the grades {_fence_free(grades)}, "
            + ("after its reasoning." if config["format"]["name"] == "reason_first" else "first of all."),
            "",
            "## Prompt",
            "The model was trained and measured on prompts of exactly this form, greedily decoded:",
            _fenced(example),
            *_loading(base),
            "",
            "## Data",
            f"`{_fence_free(data['name'])}`: {pairs['pairs']} training pairs, {pairs.get('label_noise', 0):.1%} of their labels differ from the known truth.",
            "",
            "## Recipe",
            _recipe(finished),
            "",
            f"All settings: `{RECIPE}`. The command:",
            _fenced(f"python train.py {_words(record)}".rstrip()),
            f"Code: commit {record.get('commit') or 'unknown (no git)'}. Libraries: "
            + ", ".join(f"{name} {version}" for name, version in sorted(_versions(finished).items()))
            + ".",
            "",
            "## Measured",
            "95 % bootstrap intervals over test pairs, of this one training run; another seed gives another model.",
            "",
            _metrics(finished.stages["eval"].metrics, config["eval"]["subsets"]),
            "",
            "## Limits",
            f"One seed ({record['seed']}). Measured on the pairs above only: not on other catalogues, languages, graders or prompts. The grades are "
            "those of its training data, mistakes of its annotators included. It must not be the only judge where a wrong grade does harm.",
            "",
        ]
    )


def _loading(base: str | None) -> list[str]:
    """How the tokenizer is loaded, where not by AutoTokenizer: that goes by the model's type, whose own splitting rules are others."""
    return (
        []
        if base
        else ["", "Its tokenizer was trained with it: load it with `PreTrainedTokenizerFast.from_pretrained`, not `AutoTokenizer`."]
    )


def _recipe(finished: Finished) -> str:
    rows = ["| stage | optimizer steps | learning rate | weights trained | seconds |", "|---|---|---|---|---|"]
    config = finished.record["config"]
    for role, artifact in finished.stages.items():
        own = config.get(role)
        if isinstance(own, dict) and "learning_rate" in own:
            peft = config["peft"]
            trained = f"LoRA, rank {peft['rank']}, alpha {peft['alpha']:g}, merged" if peft["name"] == "lora" else "all"
            rows.append(f"| {role} | {own['max_steps']} | {own['learning_rate']:g} | {trained} | {artifact.manifest['seconds']:.0f} |")
    return "\n".join(rows)


def _metrics(metrics: Mapping[str, float], subsets: list[str]) -> str:
    names = [name for name in _SHOWN if name in metrics]
    rows = ["| pairs | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    for title, prefix in [("all", ""), *((subset, f"{subset}/") for subset in subsets)]:
        rows.append(f"| {title} | " + " | ".join(_cell(metrics, prefix + name) for name in names) + " |")
    return "\n".join(rows)


def _cell(metrics: Mapping[str, float], name: str) -> str:
    if name not in metrics:
        return ""
    low, high = metrics.get(f"{name}/low"), metrics.get(f"{name}/high")
    return f"{metrics[name]:.3f}" + (f" [{low:.3f}, {high:.3f}]" if low is not None and high is not None else "")


def _fence_free(text: str) -> str:
    return " ".join(text.replace("`", " ").split())


def _fenced(text: str) -> str:
    """A code block that its own text cannot close."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}\n{text}\n{fence}"
