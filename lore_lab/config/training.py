"""The training stages' groups: `selection`, `sft`, `dpo`, `rl`, `curriculum`, `distill`."""

from __future__ import annotations

from dataclasses import dataclass, field

from lore_lab.config.fields import setting
from lore_lab.config.ideas import (
    ClipCovConfig,
    DynamicSamplingConfig,
    GuidedReplayConfig,
    KlCovConfig,
    SftAuxiliaryConfig,
    StepwiseConfig,
    WatchConfig,
)
from lore_lab.config.model import PretrainConfig
from lore_lab.config.optimizer import OfflineConfig, OptimizerConfig


@dataclass
class SftConfig(OfflineConfig):
    """Supervised fine-tuning on rendered targets (group `sft`)."""

    enabled: bool = setting("false: RL and evaluation start from the base model")


@dataclass
class JudgeConfig(OfflineConfig):
    """The label-only judges LREF selects with: fine-tuned from the base model with a budget of their own. All of it assumed."""

    pairs: int = setting("training pairs each model of a judge sees at most", ge=1, source="assumed")
    folds: int = setting(
        "parts the queries are divided into; a part is judged by a model that was trained on the others. 1: one model judges what it was trained on",
        ge=1,
        le=10,
        source="assumed",
    )


@dataclass
class SelectionConfig:
    """Which training pairs SFT and RL see (group `selection`): LREF's data selection (2503.09223, secondary notes)."""

    enabled: bool = setting("false: all of them")
    filters: list[str] = setting(
        "a pair stays that passes all of these, L its observed label: im: IM(x) != L; ci: CI(x) = L; ms: see `ms`",
        choices=("im", "ci", "ms"),
    )
    ms: str = setting("sign of the filter ms: MS(x) != L | MS(x) = L; sources disagree", choices=("differs", "agrees"), source="assumed")
    share: float = setting("of all pairs, at most this share stays, drawn among those that pass; 1: all that pass", gt=0, le=1)
    judge: JudgeConfig = field(default_factory=JudgeConfig)


@dataclass
class DpoConfig(OfflineConfig):
    """DPO against optimistic answers (group `dpo`; LREF 2503.09223, secondary notes). Pairs come from the policy's own beams."""

    enabled: bool = setting("false: no such stage")
    examples: int = setting(
        "training pairs the policy answers when its errors are looked for, at most: the first ones", ge=1, source="assumed"
    )
    pairs_from: str = setting("training pairs: all, or those that `selection` left", choices=("all", "selected"), source="assumed")
    errors: str = setting(
        "which errors make a pair: labels too high, or every wrong one", choices=("optimistic", "all"), source="2503.09223"
    )
    beams: int = setting("beam in which the right label is looked for (LREF's k, not known)", ge=2, source="assumed")
    max_completion_length: int = setting("tokens a completion", ge=1)
    beta: float = setting("strength of the pull to the reference", gt=0, source="assumed")
    loss_type: str = setting("TRL's name", choices=("sigmoid", "hinge", "ipo"), source="assumed")
    sft_weight: float = setting(
        "weight of the cross-entropy on chosen completions; 0 is off. LREF's alpha is 0.65; that it means this is assumed",
        ge=0,
        source="2503.09223",
    )


@dataclass
class RlConfig(OptimizerConfig):
    """Group-relative policy optimisation (group `rl`); names and meanings are TRL 1.16's GRPOConfig where it has them."""

    enabled: bool = setting("false: the point ends with SFT")
    arm: str = setting("name of the option of group rl/entropy; shown in tables, decides nothing, no part of a key")
    max_steps: int = setting("optimizer steps", ge=1)
    num_generations: int = setting("completions a prompt (G)", ge=2, source="DeepSeekMath 2402.03300")
    per_device_train_batch_size: int = setting("completions a micro-batch", ge=1)
    gradient_accumulation_steps: int = setting("micro-batches an optimizer step", ge=1)
    steps_per_generation: int = setting("micro-batches a generation batch is split into", ge=1)
    num_iterations: int = setting("passes over each generation batch (mu)", ge=1, source="DeepSeekMath 2402.03300")
    max_completion_length: int = setting("tokens a completion", ge=1)
    temperature: float = setting("sampling temperature", gt=0, le=10)
    top_p: float = setting("nucleus; below 1 biases importance ratios", gt=0, le=1)
    top_k: int = setting("0 is off; above 0 biases importance ratios", ge=0)
    clip_low: float = setting("lower clip range, epsilon; 1 is open", ge=0, le=1, source="PPO 1707.06347")
    clip_high: float = setting("upper clip range, epsilon_high", ge=0, source="DAPO 2503.14476 section 3.1: 0.28")
    delta: float | None = setting(
        "dual clip: upper bound on the ratio where the advantage is negative; null is off", gt=1, source="INTELLECT-2 2505.07291"
    )
    beta: float = setting("weight of the KL to the starting policy; 0 keeps no reference model", ge=0)
    loss_type: str = setting("aggregation and surrogate", choices=("grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo"))
    importance_sampling_level: str = setting("ratio a token or a sequence (GSPO 2507.18071)", choices=("token", "sequence"))
    scale_rewards: str = setting(
        "advantage denominator: group std, batch std, or none (Dr.GRPO 2503.20783)", choices=("group", "batch", "none")
    )
    top_entropy_quantile: float = setting(
        "share of highest-entropy tokens that get a gradient; 1 is all", gt=0, le=1, source="2506.01939: 0.2"
    )
    entropy_coef: float = setting("entropy bonus; 0 is off. Adaptive: where it starts", ge=0)
    adaptive_entropy: bool = setting("steer entropy_coef to entropy_target", source="Skywork-OR1 2505.22312")
    entropy_target: float = setting("adaptive: nats a token; the bonus acts at or below it", ge=0, source="Skywork-OR1 2505.22312: 0.2")
    entropy_coef_min: float = setting("adaptive: least coefficient", ge=0, source="assumed")
    entropy_coef_max: float = setting("adaptive: greatest coefficient", ge=0, source="assumed")
    entropy_coef_delta: float = setting("adaptive: change an optimizer step", gt=0, source="assumed")
    sapo_temperature_pos: float = setting("SAPO: gate temperature of positive advantages", gt=0, source="SAPO 2511.20347: 1")
    sapo_temperature_neg: float = setting("SAPO: gate temperature of the others", gt=0, source="SAPO 2511.20347: 1.05")
    mask_truncated_completions: bool = setting("no loss on completions without an end")
    save_windows: int = setting("checkpoint every so many generation batches; 0 is off", ge=0)
    # Ideas, in the order their hooks are called.
    dynamic_sampling: DynamicSamplingConfig = field(default_factory=DynamicSamplingConfig)
    guided_replay: GuidedReplayConfig = field(default_factory=GuidedReplayConfig)
    stepwise: StepwiseConfig = field(default_factory=StepwiseConfig)
    clip_cov: ClipCovConfig = field(default_factory=ClipCovConfig)
    kl_cov: KlCovConfig = field(default_factory=KlCovConfig)
    sft_auxiliary: SftAuxiliaryConfig = field(default_factory=SftAuxiliaryConfig)
    watch: WatchConfig = field(default_factory=WatchConfig)


@dataclass
class CurriculumConfig:
    """Order in which RL sees its prompts (group `curriculum`). Every order but pass_rate_window visits the same prompts."""

    name: str = setting("order", choices=("random", "easy_to_hard", "hard_to_easy", "staged", "pass_rate_window"))
    difficulty: str = setting(
        "source: the source's own grade. measured: 1 - pass rate of the policy RL starts from (stage `difficulty`)",
        choices=("source", "measured"),
    )
    samples: int = setting("measured: completions a pair at rl.temperature", ge=2, source="assumed")
    pools: int = setting("staged: pools of equal size, easiest first, one phase each", ge=2, source="assumed")
    replay: float = setting("staged: share of a phase's prompts that comes from earlier pools", ge=0, lt=1, source="assumed")
    window: list[float] = setting(
        "pass_rate_window: least and greatest chance-corrected pass rate of a prompt worth visiting",
        ge=0,
        le=1,
        source="DyKnow-RAG 2510.11122: [0.01, 0.9]",
    )
    memory: float = setting("pass_rate_window: weight of the past when a pass rate is seen again", ge=0, lt=1, source="assumed")


#: distillation target -> layout of the student's completions
STUDENT_FORMATS = {
    "label": "label_only",
    "probabilities": "label_only",
    "explanation": "answer_first",
    "shuffled": "answer_first",
    "explanation_first": "reason_first",
}


@dataclass
class StudentConfig:
    """The distilled model: made from `model`'s architecture and tokenizer with sizes of its own (AFRL: 0.6B of 32B; these sizes are assumed)."""

    hidden_size: int = setting("width", ge=8, source="assumed")
    intermediate_size: int = setting("MLP width", ge=8, source="assumed")
    num_hidden_layers: int = setting("layers", ge=1, source="assumed")
    num_attention_heads: int = setting("query heads", ge=1, source="assumed")
    num_key_value_heads: int = setting("key/value heads", ge=1, source="assumed")
    seed: int = setting("of weights and pretraining: fixed across run seeds, as that of `model` is", ge=0)
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)


@dataclass
class DistillConfig(OfflineConfig):
    """A smaller student learns from the last policy's answers on the training pairs (group `distill`; AFRL 2602.10006). How is not published."""

    enabled: bool = setting("false: no such stage")
    target: str = setting(
        "what the student is shown of the teacher: label | label and its probabilities | label, then explanation | explanation, then label | "
        "label, then the explanation of another pair with the same label (control)",
        choices=tuple(STUDENT_FORMATS),
        source="assumed",
    )
    weight: float = setting("probabilities: weight of the soft cross-entropy beside that of the label", gt=0, source="assumed")
    student: StudentConfig = field(default_factory=StudentConfig)
