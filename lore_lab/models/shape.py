"""The sizes of a decoder, under transformers' own names: from a directory's config.json, or as conf/model/ has them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lore_lab.models.checkpoint import BadCheckpoint, is_hub_id, read

if TYPE_CHECKING:
    from lore_lab.config.model import ModelConfig

#: linear layers of a decoder block -> (width in, width out) by the names of `Shape`; LoRA's targets
LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
#: model types with exactly these blocks; others train, but are not planned
KNOWN = ("qwen2", "qwen3", "llama")


@dataclass(frozen=True)
class Shape:
    """A decoder of `KNOWN`: grouped-query attention and a gated MLP in every block."""

    architecture: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    max_position_embeddings: int
    tie_word_embeddings: bool

    @property
    def query_width(self) -> int:
        return self.num_attention_heads * self.head_dim

    @property
    def key_width(self) -> int:
        return self.num_key_value_heads * self.head_dim

    def linear(self) -> dict[str, tuple[int, int]]:
        """(in, out) of every linear layer of a block."""
        hidden, inner = self.hidden_size, self.intermediate_size
        sizes = [(hidden, self.query_width), (hidden, self.key_width), (hidden, self.key_width), (self.query_width, hidden)]
        return dict(zip(LINEAR, [*sizes, (hidden, inner), (hidden, inner), (inner, hidden)], strict=True))

    @property
    def block_parameters(self) -> int:
        extra = {"qwen2": self.query_width + 2 * self.key_width, "qwen3": 2 * self.head_dim, "llama": 0}[self.architecture]
        return sum(width * out for width, out in self.linear().values()) + 2 * self.hidden_size + extra

    @property
    def parameters(self) -> int:
        """All of them; tied embeddings once."""
        tables = 1 if self.tie_word_embeddings else 2
        return tables * self.vocab_size * self.hidden_size + self.num_hidden_layers * self.block_parameters + self.hidden_size

    def adapter_parameters(self, rank: int, targets: list[str]) -> int:
        """Of LoRA at `rank` on `targets` of every block (2106.09685: r (in + out) a layer)."""
        return self.num_hidden_layers * sum(rank * sum(self.linear()[name]) for name in targets)


def shape_of(model: ModelConfig) -> Shape | None:
    """The shape of a directory's model, else the one conf/model/ gives; None where nobody gives one. Raises BadCheckpoint for a directory that
    cannot be read or whose model type is none of `KNOWN`."""
    if model.path is not None and not is_hub_id(model.path) and (folder := Path(model.path).expanduser()).is_dir():
        return _read(folder)
    values = {field.name: getattr(model, field.name) for field in dataclasses.fields(Shape)}
    if values["head_dim"] is None and values["hidden_size"] is not None and values["num_attention_heads"]:
        values["head_dim"] = values["hidden_size"] // values["num_attention_heads"]
    return None if None in values.values() else Shape(**values)


def longest(model: ModelConfig) -> int | None:
    """Tokens of the longest sequence the model was made for; None where only the hub knows."""
    if model.path is not None and not is_hub_id(model.path) and (folder := Path(model.path).expanduser()).is_dir():
        found = read(folder / "config.json").get("max_position_embeddings")
        return int(found) if found is not None else None
    return model.max_position_embeddings


def _read(folder: Path) -> Shape:
    config = read(folder / "config.json")
    architecture = config.get("model_type")
    if architecture not in KNOWN:
        raise BadCheckpoint(f"{folder}/config.json: model_type {architecture!r} is none of {', '.join(KNOWN)}")
    heads = config["num_attention_heads"]
    given = {
        "architecture": architecture,
        "head_dim": config["hidden_size"] // heads,
        "num_key_value_heads": heads,
        "tie_word_embeddings": False,
    }
    names = [field.name for field in dataclasses.fields(Shape)]
    return Shape(**(given | {name: config[name] for name in names if config.get(name) is not None}))
