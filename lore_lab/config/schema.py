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
from lore_lab.config.model import ModelConfig, PeftConfig
from lore_lab.config.recipe import RecipeConfig
from lore_lab.config.reward import RewardConfig
from lore_lab.config.rollout import RolloutConfig
from lore_lab.config.teacher import TeacherConfig
from lore_lab.config.training import CurriculumConfig, DistillConfig, DpoConfig, RlConfig, SelectionConfig, SftConfig

#: kinds of mutation of instructions, by name
MUTATIONS = ("drop", "swap", "move", "repeat", "paraphrase", "emphasise", "rewrite")


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
    examples: int = setting(
        "worked examples: training pairs with their grade, and why where the source knows it; none is a test pair",
        ge=0,
        le=64,
        source="assumed",
    )
    max_tokens: int = setting("prompt budget in tokens; examples, then fields are cut to fit, the query never", ge=16, le=131072)


@dataclass
class FormatConfig:
    """How a completion is laid out, hence parsed (group `format`)."""

    name: str = setting(
        "label only | label, then reasoning (AFRL 2602.10006, AGRL 2510.08048) | reasoning, then label (LORE 2512.03025)",
        choices=("label_only", "answer_first", "reason_first"),
    )


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
        "evolved: kinds of mutation, drawn with equal chance (lore_lab/instructions/operators.py); rewrite asks the model of group `teacher`",
        choices=MUTATIONS,
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
    compile: bool = setting(
        "torch compiles the model's layers in training (base, sft, rl, judges, distill); takes a C++ compiler, and some 3 s a stage, 30 the first time"
    )
    whole_logits: bool = setting(
        "in training on a processor, logits of a pass at once where they are few; false: TRL's tiles, computed again for gradients"
    )
    inverse_draws: bool = setting(
        "on a processor, a token is drawn with one random number, by inverting the cumulative distribution; false: with one a token of the vocabulary, as torch does"
    )
    prompts_once: bool = setting(
        "equal prompts of a batch go through the model once: in sampling and in RL's passes; in SFT what all rows of a batch begin with, where length_buckets > 1"
    )
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
