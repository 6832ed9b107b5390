"""The registry of what the RL laboratory can vary: name, paper, formula, parameters, and when it cannot act. One place.

`lore-lab arms` prints it, the guards take their inert rules from it, a test holds conf/ to it. Imports no torch, and no stage imports it:
a new entry changes no other entry's stage key.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from lore_lab.config.inert import ONE_UPDATE_WHY, UPDATE_MORE, InertRule, one_update

if TYPE_CHECKING:
    from lore_lab.config.schema import Config

Condition = Callable[["Config"], bool]


class Sign(NamedTuple):
    """A curve of a finished run by which an option shows that it acted.

    how: `positive`: above 0 at some step. `rises`, `falls`: from one logged step to the next, at least once. `differs`: the first value is
    not that of the sweep's baseline of the same seed. `moves`: rises or falls. `reordered`: the prompts visited are not those, or not in the order, of the baseline
    (`curve` is then the record of the order).
    """

    curve: str
    how: str = "positive"


@dataclass(frozen=True)
class Arm:
    """One option of a config group.

    keys: its parameters, which do nothing while `on` is false. inert: the option itself cannot act, for the reason `why`.
    trl: TRL has it, so the YAML is all there is. signs: each must show in a run that has the option; none for a baseline.
    """

    group: str
    name: str
    paper: str
    formula: str
    trl: bool = False
    keys: tuple[str, ...] = ()
    on: Condition = lambda config: True
    inert: Condition = lambda config: False
    why: str = ""
    instead: str = ""
    signs: tuple[Sign, ...] = ()
    switch: str = ""  #: the word that switches it on, where it is no option of its group but a part of others

    def chosen(self, config: Config) -> bool:
        return bool(
            {"rl/entropy": config.rl.arm, "reward": config.reward.name, "curriculum": config.curriculum.name}.get(self.group) == self.name
        )

    def active(self, config: Config) -> bool:
        """Whether a run of this config has the option, by its switch where it has one, else by its name."""
        return self.on(config) if self.keys else self.chosen(config)

    def rules(self) -> Iterator[InertRule]:
        if self.keys:
            off = f"{self.group}={self.name} is off"
            yield InertRule(
                f"{self.name} off", self.keys, lambda c: not self.on(c), off, f"take {self.switch or f'{self.group}={self.name}'}"
            )
        if self.why:
            yield InertRule(
                f"{self.name} without effect", (self.group,), lambda c: self.chosen(c) and self.inert(c), self.why, self.instead
            )
            if self.keys:
                yield InertRule(f"{self.name}'s parameters without effect", self.keys, self.inert, self.why, self.instead)


def _section(name: str, *fields: str) -> tuple[str, ...]:
    return tuple(f"rl.{name}.{field}" for field in fields)


def _needs_ratio(name: str, paper: str, formula: str, **more: object) -> Arm:
    """An arm of TRL that acts through the importance ratio alone."""
    return Arm("rl/entropy", name, paper, formula, trl=True, inert=one_update, why=ONE_UPDATE_WHY, instead=UPDATE_MORE, **more)  # type: ignore[arg-type]


_COV = "cov_t = (A_t - mean A)(log p_t - mean log p) over the generation batch; "
_CLIP_COV = _COV + "no gradient on floor(share x N) random tokens with low < cov < high"
_KL_COV = _COV + "+ coef |log p_t - log p_old,t| on the share x N tokens of highest cov; no ratio clip"
_CLIP_COV_KEYS = _section("clip_cov", "share", "low", "high")
_KL_COV_KEYS = _section("kl_cov", "share", "coef")
_SFT_KEYS = _section("sft_auxiliary", "weight", "schedule", "batch_size")
_SFT_FORMULA = "L + w(t) CE(gold targets): forward KL beside the policy's reverse KL; "
_OTHER_ORDER = (Sign("order", "reordered"),)
_CLIPPED = (Sign("rl/clip_ratio/high_mean"),)
_DROPPED = (Sign("rl/lore/clip_cov/tokens"),)
_HELD = (Sign("rl/lore/kl_cov/distance"),)
_SUPERVISED = (Sign("rl/lore/sft_auxiliary/loss"),)
_BEYOND = (Sign("rl/lore/ratio_beyond"),)
_ADAPTIVE_KEYS = ("rl.entropy_target", "rl.entropy_coef_min", "rl.entropy_coef_max", "rl.entropy_coef_delta")


def _kl_cov(name: str, paper: str) -> Arm:
    return Arm("rl/entropy", name, paper, _KL_COV, keys=_KL_COV_KEYS, on=lambda c: c.rl.kl_cov.enabled, signs=_HELD,
               inert=one_update, why=ONE_UPDATE_WHY + " and |log p - log p_old| has no gradient", instead=UPDATE_MORE)  # fmt: skip


ENTROPY: tuple[Arm, ...] = (
    Arm("rl/entropy", "none", "DeepSeekMath 2402.03300", "-min(r A, clip(r, 1 - low, 1 + high) A); A = (R - mean R) / std R in the group", trl=True),
    _needs_ratio("clip_higher", "DAPO 2503.14476 section 3.1", "clip(r, 1 - 0.2, 1 + 0.28)", signs=_CLIPPED),
    Arm("rl/entropy", "clip_cov", "2505.22617, paper's values", _CLIP_COV + "; ratio clip opened", keys=_CLIP_COV_KEYS,
        on=lambda c: c.rl.clip_cov.enabled, signs=_DROPPED),
    Arm("rl/entropy", "clip_cov_verl", "2505.22617, verl's defaults", _CLIP_COV + "; ratio clip 0.2", keys=_CLIP_COV_KEYS,
        on=lambda c: c.rl.clip_cov.enabled, signs=_DROPPED),
    _kl_cov("kl_cov", "2505.22617, paper's values: 2e-3, 1"),
    _kl_cov("kl_cov_verl", "2505.22617, verl's defaults: 2e-4, 0.1"),
    Arm("rl/entropy", "entropy_bonus", "A3C 1602.01783", "L - coef mean_t H_t (coef assumed)", trl=True, signs=(Sign("rl/entropy_coef"),)),
    Arm("rl/entropy", "entropy_adaptive", "Skywork-OR1 2505.22312", "coef_k+1 = coef_k +- delta towards the target; acts where H <= target", trl=True,
        keys=_ADAPTIVE_KEYS, on=lambda c: c.rl.adaptive_entropy, signs=(Sign("rl/entropy_coef", "rises"),)),
    Arm("rl/entropy", "top_entropy", "2506.01939", "gradient on the 20 % of tokens of highest entropy only", trl=True,
        signs=(Sign("rl/lore/top_entropy/masked"),)),
    Arm("rl/entropy", "temperature", "common practice (value assumed)", "sample and score at T > 1; entropies at different T do not compare", trl=True,
        signs=(Sign("rl/entropy", "differs"),)),
    Arm("rl/entropy", "one_update", "common practice", "every rollout feeds one optimizer step: r = 1", trl=True, signs=(Sign("rl/num_tokens", "differs"),)),
    Arm("rl/entropy", "kl_sft", "DeepSeekMath 2402.03300; weight of DyKnow-RAG 2510.11122", "L + beta (q/p - log q/p - 1), q the policy RL starts from",
        trl=True, signs=(Sign("rl/kl"),)),
    _needs_ratio("dual_clip", "1912.09729; INTELLECT-2 2505.07291", "r <= delta where A < 0", signs=(Sign("rl/lore/dual_clip"),)),
    _needs_ratio("gspo", "GSPO 2507.18071", "r = (p(y) / p_old(y))^(1/|y|), clipped to [1 - 3e-4, 1 + 4e-4]",
                 signs=(Sign("rl/clip_ratio/region_mean"),)),
    Arm("rl/entropy", "dr_grpo", "Dr.GRPO 2503.20783", "A = R - mean R; sum_t / (B x longest completion)", trl=True,
        signs=(Sign("rl/grad_norm", "differs"),)),
    _needs_ratio("cispo", "MiniMax-M1 2506.13585", "-stop_gradient(min(r, high)) A log p", signs=_BEYOND),
    Arm("rl/entropy", "sapo", "SAPO 2511.20347", "-4/T sigmoid(T (r - 1)) A, T by the sign of A", trl=True,
        keys=("rl.sapo_temperature_pos", "rl.sapo_temperature_neg"), on=lambda c: c.rl.loss_type == "sapo" and not one_update(c),
        signs=_BEYOND),
    Arm("rl/entropy", "dapo", "DAPO 2503.14476", "token-level loss, clip 0.2 / 0.28, groups without difference refilled (cap assumed), soft overlong punishment",
        keys=_section("dynamic_sampling", "attempts"), on=lambda c: c.rl.dynamic_sampling.enabled, signs=(Sign("rl/lore/dynamic/refilled"),)),
    Arm("rl/entropy", "sft_aux", "AFRL 2602.10006 (weight assumed)", _SFT_FORMULA + "w constant", keys=_SFT_KEYS,
        on=lambda c: c.rl.sft_auxiliary.enabled, signs=_SUPERVISED),
    Arm("rl/entropy", "sft_aux_decaying", "AFRL 2602.10006 (schedule assumed)", _SFT_FORMULA + "w linear from weight to final x weight",
        keys=_section("sft_auxiliary", "final"), on=lambda c: c.rl.sft_auxiliary.enabled and c.rl.sft_auxiliary.schedule == "decaying",
        signs=(*_SUPERVISED, Sign("rl/lore/sft_auxiliary/weight", "falls"))),
    Arm("rl/entropy", "sft_aux_adaptive", "AFRL 2602.10006 (schedule assumed)",
        _SFT_FORMULA + "w x (1 + rate) while CE > (1 + tolerance) CE_0, else w / (1 + rate), within bounds",
        keys=_section("sft_auxiliary", "rate", "tolerance", "bounds"),
        on=lambda c: c.rl.sft_auxiliary.enabled and c.rl.sft_auxiliary.schedule == "adaptive",
        signs=(*_SUPERVISED, Sign("rl/lore/sft_auxiliary/weight", "moves"))),
)  # fmt: skip


def _reward(name: str, paper: str, formula: str, **more: object) -> Arm:
    return Arm("reward", name, paper, formula, **more)  # type: ignore[arg-type]


_OTHER_REWARD = (Sign("rl/reward", "differs"),)
_LENGTH = (Sign("rl/lore/length_term"),)


def _weights(*names: str) -> tuple[str, ...]:
    return tuple(f"reward.rule_aware.{name}" for name in names)


REWARDS: tuple[Arm, ...] = (
    _reward("exact", "LORE 2512.03025 in outline", "1 for the right label, else 0"),
    _reward("graded", "ours (assumed)", "1 - |grade - label| / (grades - 1)", signs=_OTHER_REWARD),
    _reward("format", "ours", "1 for layout and grammar, blind to the label", signs=_OTHER_REWARD),
    _reward("rule_aware", "AGRL 2510.08048 (weights assumed)", "weighted mean of needs, knowledge, path, rules, label against gold facts; hard gate",
            keys=_weights("needs", "knowledge", "path", "rules", "label", "gate"), on=lambda c: c.reward.name == "rule_aware",
            signs=_OTHER_REWARD),
    _reward("stepwise", "AFRL 2602.10006 (mixing assumed)", "A_t = (1 - w) A + w A_k for a token of step k", keys=_section("stepwise", "weight"),
            on=lambda c: c.rl.stepwise.enabled, signs=(Sign("rl/lore/stepwise/moved"),)),
    _reward("guided", "AGRL 2510.08048 (all values assumed)", "rule_aware, and groups that fail sampled again with a ground-truth hint",
            keys=_section("guided_replay", "trigger", "share", "hint", "placement", "correction"), on=lambda c: c.rl.guided_replay.enabled,
            signs=(Sign("rl/lore/replay_share"),)),
    _reward("brief", "ours (assumed)", "exact - w n / L for right answers", keys=("reward.brevity.weight",), on=lambda c: c.reward.brevity.enabled,
            signs=_LENGTH),
    _reward("overlong", "DAPO 2503.14476 section 3.4; part of rl/entropy=dapo", "0 up to L - b, then linear to -w at L",
            keys=("reward.overlong.buffer", "reward.overlong.weight"), on=lambda c: c.reward.overlong.enabled,
            signs=_LENGTH, switch="reward.overlong.enabled=true"),
)  # fmt: skip

CURRICULA: tuple[Arm, ...] = (
    Arm("curriculum", "random", "LORE 2512.03025, baseline", "whole shuffled passes"),
    Arm("curriculum", "easy_to_hard", "LORE 2512.03025", "by rising difficulty", keys=("curriculum.difficulty",), on=lambda c: c.curriculum.name != "random",
        signs=_OTHER_ORDER),
    Arm("curriculum", "hard_to_easy", "control", "by falling difficulty", signs=_OTHER_ORDER),
    Arm("curriculum", "staged", "AFRL 2602.10006 (number of stages assumed)", "pools from easy to hard, shuffled inside",
        keys=("curriculum.pools",), on=lambda c: c.curriculum.name == "staged", signs=_OTHER_ORDER),
    Arm("curriculum", "staged_replay", "ours (share assumed)", "as staged, a share of each phase from earlier pools",
        keys=("curriculum.replay",), on=lambda c: c.curriculum.name == "staged", signs=_OTHER_ORDER),
    Arm("curriculum", "pass_rate_window", "DyKnow-RAG 2510.11122, made adaptive (assumed)", "visit prompts with low <= (p - 1/g) / (1 - 1/g) <= high",
        keys=("curriculum.window", "curriculum.memory"), on=lambda c: c.curriculum.name == "pass_rate_window",
        signs=_OTHER_ORDER),
    Arm("curriculum", "measured", "ours", "difficulty = 1 - pass rate over n samples",
        keys=("curriculum.samples",), on=lambda c: c.curriculum.difficulty == "measured", switch="curriculum.difficulty=measured"),
)  # fmt: skip

ARMS: tuple[Arm, ...] = (*ENTROPY, *REWARDS, *CURRICULA)


def active(config: Config) -> list[Arm]:
    """The options a run of this config has. Takes a record of a run too: what an older version's record does not name, it did not have."""
    found = []
    for arm in ARMS:
        with contextlib.suppress(AttributeError):
            found += [arm] if arm.active(config) else []
    return found


def inert_rules() -> tuple[InertRule, ...]:
    """Every arm's rules, each once: arms that share parameters share the rule."""
    rules: dict[tuple[tuple[str, ...], str], InertRule] = {}
    for arm in ARMS:
        for rule in arm.rules():
            rules.setdefault((rule.keys, rule.name if rule.keys == (arm.group,) else rule.why.partition("=")[0]), rule)
    return tuple(rules.values())
