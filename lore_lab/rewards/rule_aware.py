"""AGRL's rule-aware reward shaping (2510.08048): dense parts of the reasoning beside the final label, each against gold facts.

    R = sum_k w_k part_k / sum_k w_k over needs, knowledge, path, rules, label;   with the gate: 0 unless the label is right and the
    reasoning follows the grammar

    needs, knowledge: F1 of the stated (name, value) pairs.   path: right verdicts / (dimensions + dimensions that are not there).
    rules: 1 for exactly the rules that fire, in any order, else 0.   A part the example does not have (no knowledge) drops out.

The weights are assumed. Claims are compared with facts, never with the prompt, so that copying the item earns nothing by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lore_lab.cot.parse import ParsedReasoning, parse_reasoning
from lore_lab.cot.words import clean, clean_name, wanted
from lore_lab.data.example import Facts
from lore_lab.rewards.case import Case


def f1(said: Mapping[str, str], gold: Mapping[str, str]) -> float:
    """F1 of `said` against `gold` as sets of pairs; 1 when both are empty."""
    if not said and not gold:
        return 1.0
    return 2 * len(said.items() & gold.items()) / (len(said) + len(gold))


def gold_needs(facts: Facts) -> dict[str, str]:
    return {clean_name(need.dimension): wanted(need) for need in facts.needs}


def gold_knowledge(facts: Facts) -> dict[str, str]:
    meanings: dict[str, list[str]] = {}
    for need in facts.needs:
        if need.knowledge:
            meanings.setdefault(clean(need.surface), []).append(wanted(need))
    return {surface: " and ".join(values) for surface, values in meanings.items()}


def reasoning_parts(parsed: ParsedReasoning, facts: Facts) -> dict[str, float]:
    """needs, knowledge, path, rules, each 0..1; knowledge is missing where the query needs none and none was claimed."""
    verdicts = {clean_name(match.dimension): match.verdict for match in facts.matches}
    right = sum(parsed.path.get(dimension) == verdict for dimension, verdict in verdicts.items())
    spurious = len(parsed.path.keys() - verdicts.keys())
    parts = {
        "needs": f1(parsed.needs, gold_needs(facts)),
        "path": right / max(1, len(verdicts) + spurious),
        "rules": float(sorted(parsed.rules) == sorted(clean_name(rule) for rule in facts.rules)),
    }
    knowledge = gold_knowledge(facts)
    if knowledge or parsed.knowledge:
        parts["knowledge"] = f1(parsed.knowledge, knowledge)
    return parts


def reward(case: Case, settings: Any) -> float:
    if case.example.facts is None:
        raise ValueError(f"reward=rule_aware needs the facts behind a judgement, example {case.example.id!r} has none; take reward=exact")
    parsed, right = parse_reasoning(case.reasoning), case.grade == case.example.label
    weights = settings.rule_aware
    if weights.gate and not (right and parsed.well_formed):
        return 0.0
    parts = reasoning_parts(parsed, case.example.facts) | {"label": float(right)}
    total = sum(getattr(weights, name) for name in parts)
    return sum(getattr(weights, name) * value for name, value in parts.items()) / total
