"""Settings of the embedded source of examples, the world (docs/world.md)."""

from __future__ import annotations

from dataclasses import dataclass

from lore_lab.config.fields import setting


@dataclass
class WorldConfig:
    """One world. Two configs that differ only in `size` agree on every example both have."""

    name: str = setting("the source", choices=("world",))
    profile: str = setting("which part of the vocabulary and the rule book: small | full", choices=("small", "full"))
    seed: int = setting("world seed, apart from the run's seed: another seed is another world", ge=0)
    size: int = setting("training pairs; a smaller size is a prefix of a larger one", ge=0)
    validation_size: int = setting("validation pairs", ge=0)
    missing_rate: float = setting("share of attribute values no field states (visual ones stay in the image)", source="assumed", ge=0, le=1)
    table_gap_rate: float = setting("share of attribute table cells left out", source="assumed", ge=0, le=1)
    wrong_cell_rate: float = setting("share of table cells that are wrong; the description tells the truth", source="assumed", ge=0, le=1)
    visual_only_rate: float = setting("share of visual values only the image shows", source="assumed", ge=0, le=1)
    caption_error_rate: float = setting("share of captions with one wrong visual value", source="assumed", ge=0, le=1)
    knowledge_rate: float = setting("share of queries whose words need knowledge", source="assumed", ge=0, le=0.5)
    irrelevant_note_rate: float = setting("share of queries whose notes hold one that does not belong", source="assumed", ge=0, le=1)
    negation_rate: float = setting("share of queries that exclude a value", source="assumed", ge=0, le=0.5)
    typo_rate: float = setting("share of queries with a typo", source="assumed", ge=0, le=0.5)
    label_noise_rate: float = setting("share of labels an annotator puts on a neighbouring grade", source="assumed", ge=0, le=1)
    optimistic_share: float = setting("share of these mistakes that go up (LREF: about 0.7)", source="2503.09223", ge=0, le=1)
