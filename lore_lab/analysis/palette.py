"""How arms look, in figures and in the report: Okabe and Ito's colours (2008) with dashes that tell arms apart without colour."""

from __future__ import annotations

from typing import NamedTuple

MOST_ARMS = 12  #: a figure with more lines than this cannot be read

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F")
_DASHES: tuple[tuple[str, str], ...] = (("-", ""), ("--", "6 3"), ("-.", "7 3 2 3"), (":", "2 3"))

TITLES = {
    "rl/entropy": "policy entropy (nats a token)",
    "rl/lore/entropy_decision": "entropy of the deciding tokens (nats)",
    "rl/lore/entropy_label": "entropy of the label (nats)",
    "rl/reward": "reward of the rollouts",
    "rl/lore/accuracy": "accuracy of the rollouts",
    "rl/lore/probe/accuracy": "accuracy on the probe set",
    "rl/lore/probe/accuracy_tail": "accuracy on tail queries",
    "rl/lore/probe/accuracy_rule": "accuracy where a rule is at stake",
    "rl/lore/probe/kl_forward": "forward KL to the start (nats a token)",
    "rl/lore/probe/kl_reverse": "reverse KL to the start (nats a token)",
}


class ArmStyle(NamedTuple):
    """colour: hex. dash: a matplotlib line style. svg_dash: the same as an SVG stroke-dasharray."""

    colour: str
    dash: str
    svg_dash: str


def arm_style(index: int) -> ArmStyle:
    """The style of the index-th arm. Seven colours and four dashes have no common divisor: 28 arms differ."""
    dash, svg = _DASHES[index % len(_DASHES)]
    return ArmStyle(_COLOURS[index % len(_COLOURS)], dash, svg)


#: outcome of a verdict -> (colour, marker)
OUTCOMES = {
    "supported": ("#009e73", "o"),
    "contradicted": ("#d55e00", "X"),
    "no effect": ("#0072b2", "s"),
    "inconclusive": ("#777777", "D"),
}
