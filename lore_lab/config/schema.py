"""The typed tree of one point. YAML under conf/ gives every value; this module gives types, ranges, docs and sources.

Groups with one shape are fields of `Config`. Groups whose options differ in shape (data, cot) are stored as bases that their
YAML names first in its defaults list. Imports neither torch nor anything of training.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

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
from lore_lab.config.recipe import RecipeConfig
from lore_lab.config.rollout import RolloutConfig
from lore_lab.config.teacher import TeacherConfig

#: kinds of mutation of instructions, by name
MUTATIONS = ("drop", "swap", "move", "repeat", "paraphrase", "emphasise")


@dataclass
class FeaturesConfig:
    """Which fields of query and item the model may see (group `features`)."""

    fields: list[str] = setting("item fields in prompt order; when the token budget is short the last is cut first")
    query_fields: list[str] = setting("query-side fields, e.g. knowledge notes")
    image: bool = setting(
        "the item's image, as patch tokens at the start of the prompt; needs a model that sees", source="LORE 2512.03025: end to end"
    )


@dataclass
class PromptConfig:
    """How an example is put into words (group `prompt`)."""

    template: str = setting(
        "how much instruction surrounds the fields", choices=("bare", "task", "full"), source="LORE (secondary notes): length"
    )
    max_tokens: int = setting("prompt budget in tokens; fields are cut to fit, the query never", ge=16, le=131072)


@dataclass
class FormatConfig:
    """How a completion is laid out, hence parsed (group `format`)."""

    name: str = setting(
        "label only | label, then reasoning (AFRL 2602.10006, AGRL 2510.08048) | reasoning, then label (LORE 2512.03025)",
        choices=("label_only", "answer_first", "reason_first"),
    )


@dataclass
class PretrainConfig:
    """Language modelling of the embedded model on unlabelled texts of the source. Ours: stands in for a pretrained LLM."""

    texts: int = setting("unlabelled texts read from the source", ge=0)
    max_steps: int = setting("optimizer steps; 0 leaves the random initialisation", ge=0)
    per_device_train_batch_size: int = setting("blocks a step", ge=1)
    block_size: int = setting("tokens a block", ge=16)
    learning_rate: float = setting("peak rate, linear decay", gt=0, le=1)
    warmup_steps: int = setting("linear warm-up, optimizer steps", ge=0)
    adam_beta2: float = setting("second moment decay; short runs want it below 0.999", ge=0, lt=1)


@dataclass
class PromptTokensConfig:
    """What `prompt.max_tokens` is under each option of group `prompt`, unless the command says otherwise."""

    short: int = setting("tokens under prompt=short", ge=16, le=131072, source="LORE (secondary notes): about 100")
    medium: int = setting("tokens under prompt=medium", ge=16, le=131072, source="LORE (secondary notes): about 800")
    long: int = setting("tokens under prompt=long", ge=16, le=131072, source="LORE (secondary notes): about 7000")


@dataclass
class RatesConfig:
    """Peak learning rates of a pretrained model: adapters want about ten times those of all weights."""

    sft: float = setting("under sft=pretrained", gt=0, le=1, source="assumed")
    rl: float = setting("under rl=pretrained", gt=0, le=1, source="assumed")


@dataclass
class PeftConfig:
    """Which weights a training stage moves (group `peft`). Every stage trains an adapter of its own on the policy it is given."""

    name: str = setting("all weights, or low-rank adapters", choices=("none", "lora"), source="LoRA 2106.09685")
    rank: int = setting("r", ge=1, le=1024, source="assumed")
    alpha: float = setting("the adapter's output is scaled by alpha / rank", gt=0, source="assumed")
    dropout: float = setting("on the adapter's input, in SFT; RL trains without any", ge=0, lt=1, source="assumed")
    targets: list[str] = setting("linear layers of a block that get one", source="QLoRA 2305.14314: all of them")
    rates: RatesConfig = field(default_factory=RatesConfig)


@dataclass
class OptimizerConfig:
    """What SFT and RL hand to AdamW and the schedule; every field explicit because library defaults drift."""

    learning_rate: float = setting("peak rate", gt=0, le=1)
    lr_scheduler_type: str = setting("schedule", choices=("constant", "constant_with_warmup", "linear", "cosine"))
    warmup_steps: int = setting("optimizer steps of linear warm-up", ge=0)
    weight_decay: float = setting("decoupled weight decay", ge=0, le=1)
    adam_beta1: float = setting("first moment decay", ge=0, lt=1)
    adam_beta2: float = setting("second moment decay", ge=0, lt=1)
    adam_epsilon: float = setting("Adam's epsilon", gt=0)
    max_grad_norm: float = setting("gradient norm clip; 0 is off", ge=0)


@dataclass
class OfflineConfig(OptimizerConfig):
    """A training on examples that are there beforehand."""

    max_steps: int = setting("optimizer steps", ge=1)
    per_device_train_batch_size: int = setting("examples a micro-batch", ge=1)
    gradient_accumulation_steps: int = setting("micro-batches an optimizer step", ge=1)
    save_steps: int = setting("checkpoint every so many optimizer steps; 0 is off", ge=0)


@dataclass
class VisionConfig:
    """A vision tower before the embedded language model (stage `vision`). Stands in for a pretrained vision-language model: all assumed."""

    enabled: bool = setting("switch; features.image=true then shows the model the item's image")
    image_size: int = setting("side of the square image, pixels", ge=8, le=1024)
    patch_size: int = setting("side of a patch, pixels; a patch is a prompt token", ge=2)
    hidden_size: int = setting("width of the tower", ge=8)
    intermediate_size: int = setting("MLP width of the tower", ge=8)
    num_hidden_layers: int = setting("layers of the tower", ge=1)
    num_attention_heads: int = setting("heads of the tower", ge=1)
    images: int = setting("images of the source with their captions, from which it learns to see", ge=1)
    pretrain: OfflineConfig = field(default_factory=OfflineConfig)


@dataclass
class ModelConfig:
    """The policy's starting point (group `model`). Sizes have transformers' names; null: config.json of the directory has them."""

    name: str = setting("the option of group model")
    path: str | None = setting("directory or hub id (owner/name) of pretrained weights; null makes a model from the sizes below")
    revision: str | None = setting("commit of a hub id, 40 hex digits; null is refused for hub ids, so that weights cannot move")
    dtype: str = setting("what the weights are kept in", choices=("float32", "bfloat16"))
    attention: str = setting("attention of transformers", choices=("sdpa", "eager", "flash_attention_2"))
    prompt_tokens: PromptTokensConfig = field(default_factory=PromptTokensConfig)
    completion_tokens: int = setting("length limit of completions in RL and evaluation, unless the command says otherwise", ge=1)
    architecture: str | None = setting("transformers model type, e.g. qwen2")
    vocab_size: int | None = setting("tokens; embedded: byte-level BPE, trained on the source's texts", ge=300)
    hidden_size: int | None = setting("width", ge=8)
    intermediate_size: int | None = setting("MLP width", ge=8)
    num_hidden_layers: int | None = setting("layers", ge=1)
    num_attention_heads: int | None = setting("query heads", ge=1)
    num_key_value_heads: int | None = setting("key/value heads", ge=1)
    head_dim: int | None = setting("width of a head; null is hidden_size / num_attention_heads", ge=2)
    max_position_embeddings: int | None = setting("longest sequence, tokens", ge=32)
    tie_word_embeddings: bool | None = setting("whether the output layer is the input embedding")
    initializer_range: float = setting("standard deviation of initial weights; a narrow model needs more than the usual 0.02", gt=0, le=1)
    seed: int = setting("of weights and pretraining: fixed across run seeds, as a downloaded checkpoint would be", ge=0)
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    vision: VisionConfig = field(default_factory=VisionConfig)


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
class OverlongConfig:
    """DAPO's soft overlong punishment (2503.14476 section 3.4): 0 up to the buffer, then linear down to -weight at the length limit."""

    enabled: bool = setting("switch")
    buffer: int = setting("tokens before rl.max_completion_length in which the punishment grows", ge=1, source="assumed")
    weight: float = setting("punishment at the limit", gt=0, source="2503.14476: 1")


@dataclass
class BrevityConfig:
    """A price on tokens, paid by right completions only, so that a short wrong answer gains nothing. Ours."""

    enabled: bool = setting("switch")
    weight: float = setting("price of a completion as long as rl.max_completion_length", gt=0, le=1, source="assumed")


@dataclass
class RuleAwareConfig:
    """AGRL's dense reward (2510.08048): parts of the reasoning against gold facts. The weights are not published: assumed."""

    needs: float = setting("weight: F1 of dimension = value", ge=0, source="assumed")
    knowledge: float = setting("weight: F1 of meanings", ge=0, source="assumed")
    path: float = setting("weight: share of dimensions judged right, extra ones counted against", ge=0, source="assumed")
    rules: float = setting("weight: exactly the rules that fire", ge=0, source="assumed")
    label: float = setting("weight: the final label", gt=0, source="assumed")
    gate: bool = setting("true: no part pays unless the final label is right and the reasoning follows the grammar", source="assumed")


@dataclass
class RewardConfig:
    """Verifiable rewards of a parsed completion (group `reward`)."""

    name: str = setting("which reward: module lore_lab/rewards/<name>.py", choices=("exact", "graded", "format", "rule_aware"))
    invalid: float = setting("reward of a completion that does not parse", le=0)
    rule_aware: RuleAwareConfig = field(default_factory=RuleAwareConfig)
    overlong: OverlongConfig = field(default_factory=OverlongConfig)
    brevity: BrevityConfig = field(default_factory=BrevityConfig)


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


@dataclass
class InstructionsConfig:
    """The lines before the query (group `instructions`): as written, or mutated and selected (AFRL 2602.10006, instruction evolution).

    The paper's procedure is not published: all values are assumed.
    """

    name: str = setting("written: by lore_lab/prompts/instructions.py. evolved: by stage `evolve`", choices=("written", "evolved"))
    candidates: int = setting("evolved: texts scored, at most", ge=1, source="assumed")
    pairs: int = setting("evolved: validation pairs a candidate is scored on", ge=2, source="assumed")
    check_pairs: int = setting("evolved: further validation pairs the last text has to prove itself on", ge=2, source="assumed")
    metric: str = setting(
        "evolved: macro-F1 of the greedy labels, or mean log-probability of the observed label",
        choices=("macro_f1", "log_likelihood"),
        source="assumed",
    )
    margin: float = setting("evolved: an improvement counts above this many of its standard errors, paired by pair", ge=0, source="assumed")
    growth: float = setting("evolved: a candidate is at most so many times as long as the written text, in tokens", ge=1, source="assumed")
    operators: list[str] = setting(
        "evolved: kinds of mutation, drawn with equal chance (lore_lab/instructions/operators.py)", choices=MUTATIONS
    )


@dataclass
class EvalConfig:
    """Evaluation of a policy (group `eval`)."""

    decode: str = setting(
        "generate: the whole completion. first_token: the label and its probabilities from one forward pass, where the label comes first",
        choices=("generate", "first_token"),
        source="AFRL 2602.10006: serving reads the first token",
    )
    calibrate: int = setting(
        "validation pairs a temperature for the label probabilities is fitted on; 0 is off", ge=0, source="temperature scaling: 1706.04599"
    )
    subsets: list[str] = setting("test splits", choices=("general", "hard", "visual", "rule", "wild", "unseen", "validation"))
    size: int = setting("pairs of each subset, decoded greedily", ge=1)
    sampled_size: int = setting("first pairs of each subset also sampled", ge=0)
    samples: int = setting("completions a sampled pair (n of pass@k)", ge=1)
    temperature: float = setting("of the sampled completions", gt=0)
    max_completion_length: int = setting("tokens a completion", ge=1)
    batch_size: int = setting("completions decoded at once", ge=1)
    resamples: int = setting("bootstrap resamples over pairs for 95 % intervals", ge=100)
    stages: list[str] = setting(
        "policies evaluated: the final one always is; these add what later stages started from", choices=("sft", "dpo", "rl")
    )
    beams: int = setting("width of a beam search over every pair: where the right label stands; 0 is off", ge=0)
    prior_correction: bool = setting(
        "the greedy label is replaced by argmax p(label) / prior(label), the prior being the observed labels' shares among the pairs trained on",
        source="Menon et al. 2007.07314, tau = 1",
    )
    baselines: list[str] = setting("judges without a language model, measured beside the policies", choices=("majority", "tfidf", "bm25"))
    baseline_pairs: int = setting("training pairs a baseline is fitted on: the first so many", ge=1)


@dataclass
class TrackingConfig:
    """Where curves go beside the local files (group `tracking`). Cannot change a result; never part of a stage key."""

    wandb: str = setting("auto: online with an API key, else offline", choices=("auto", "online", "offline", "disabled"))
    project: str = setting("W&B project")
    entity: str | None = setting("W&B entity")


@dataclass
class ComputeConfig:
    """Where and how exactly numbers are computed (group `compute`)."""

    device: str = setting("auto: a GPU where torch was built for one and the driver is there", choices=("auto", "cpu", "cuda"))
    precision: str = setting("training autocast", choices=("fp32", "bf16"))
    gradient_checkpointing: bool = setting("keep one activation a layer and compute the others again in the backward pass")
    length_buckets: int = setting("groups of like length a micro-batch goes through the model in; 1 is one padded batch", ge=1)
    generation_rounds: int = setting(
        "parts a completion's length limit is generated in; after each, finished rows leave the batch. 1 is one generate call", ge=1
    )
    labels_only: bool = setting("SFT projects onto the vocabulary only tokens that have a label; takes length_buckets above 1")
    prompts_once: bool = setting("equal prompts of a batch go through the model once: in sampling, and in RL's forward and backward passes")
    sampler_log_probs: bool = setting("old log-probs of RL are the sampler's own (fp32 only); false: a forward pass of their own")
    threads: int = setting("CPU threads of a process: fixed, because summation order depends on it", ge=1)
    processes: int = setting("processes of the stages sft and rl, on GPUs one each; `per_device` sizes count for each of them", ge=1)
    distributed: str = setting("how processes share a model: copies (ddp) or shards", choices=("ddp", "fsdp2", "deepspeed"))
    sharding: dict[str, Any] = setting("what transformers' `fsdp_config` or `deepspeed` takes; empty under ddp")


@dataclass
class DeployConfig:
    """Serving by query frequency (group `deploy`): cache, distilled ranker, LLM, and the log they are replayed against."""

    enabled: bool = setting("false: the point ends with its evaluation", source="LORE 2512.03025 (secondary notes)")
    hot_from: int | None = setting(
        "requests in the last period from which a query is answered from the cache; null: none is", ge=1, source="assumed"
    )
    medium_from: int | None = setting(
        "requests in the last period from which a query is answered by the ranker; null: none is, 0: all are", ge=0, source="assumed"
    )
    requests: int = setting("requests of a period: one is counted, the next is replayed", ge=1, source="assumed")
    exponent: float = setting("of Zipf's law: a query of rank r is asked in proportion to r^-exponent", ge=0, le=4, source="assumed")
    judged: int = setting("queries judged of each octave of ranks (1, 2-3, 4-7, ...); they stand for the others", ge=1, source="assumed")
    candidates: int = setting("items shown for a query, at most", ge=1, source="assumed")
    top: int = setting("GoodRate: a request is good when its best so many items are all relevant", ge=1, source="assumed")
    distill_pairs: int = setting("training pairs whose label probabilities the ranker learns: the first so many", ge=1, source="assumed")
    ranker_bits: int = setting("log2 of the ranker's hashed features", ge=4, le=24, source="assumed")
    ranker_penalty: float = setting("weight of the ranker's squared weights in its mean loss", gt=0, source="assumed")
    timed: int = setting("requests timed in each tier", ge=1, source="assumed")
    load: float = setting(
        "arrivals of the replay in what one LLM alone could serve; from 1 on it alone would fall behind", gt=0, source="assumed"
    )


@dataclass
class Config:
    """One point, resolved."""

    data: Any = MISSING
    cot: Any = MISSING
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    features: FeaturesConfig = field(default_factory=FeaturesConfig)
    prompt: PromptConfig = field(default_factory=PromptConfig)
    format: FormatConfig = field(default_factory=FormatConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    selection: SelectionConfig = field(default_factory=SelectionConfig)
    peft: PeftConfig = field(default_factory=PeftConfig)
    sft: SftConfig = field(default_factory=SftConfig)
    dpo: DpoConfig = field(default_factory=DpoConfig)
    rl: RlConfig = field(default_factory=RlConfig)
    rollout: RolloutConfig = field(default_factory=RolloutConfig)
    reward: RewardConfig = field(default_factory=RewardConfig)
    curriculum: CurriculumConfig = field(default_factory=CurriculumConfig)
    instructions: InstructionsConfig = field(default_factory=InstructionsConfig)
    distill: DistillConfig = field(default_factory=DistillConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
    recipe: RecipeConfig = field(default_factory=RecipeConfig)
    deploy: DeployConfig = field(default_factory=DeployConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    seed: int = setting("of training and sampling; data and base model have their own", ge=0, le=2**31 - 1)
    guard: str = setting("what an inert setting does", choices=("error", "warn"))
    root: str = setting("folder of artifacts, points and sweeps")


@functools.cache
def register() -> None:
    """Put the schema into Hydra's store; the composed config is then typed and closed."""
    from lore_lab.config.cot import CotConfig
    from lore_lab.config.table import TableConfig
    from lore_lab.config.world import WorldConfig

    store = ConfigStore.instance()
    store.store(name="schema", node=Config)
    store.store(group="data", name="world_schema", node=WorldConfig)
    store.store(group="data", name="table_schema", node=TableConfig)
    store.store(group="cot", name="cot_schema", node=CotConfig)
