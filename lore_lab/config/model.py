"""Groups `model` and `peft`: which weights are trained, and how much of them."""

from __future__ import annotations

from dataclasses import dataclass, field

from lore_lab.config.fields import setting
from lore_lab.config.optimizer import OfflineConfig


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
    attention: str = setting(
        "attention of transformers; grouped is ours, for processors (lore_lab.train.attention)",
        choices=("sdpa", "eager", "flash_attention_2", "grouped"),
    )
    prompt_tokens: PromptTokensConfig = field(default_factory=PromptTokensConfig)
    prompt_examples: int = setting("`prompt.examples` under prompt=long, unless the command says otherwise", ge=0, le=64)
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
