"""Config of the table sources: rated pairs of the user's own, the published sets, and catalogues without ratings.

Every value stands in `conf/data/table.yaml`; the files of the published sets hold only what differs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from lore_lab.config.fields import setting

ERROR_DROP = ("error", "drop")
ERROR_DROP_KEEP = ("error", "drop", "keep")
ERROR_KEEP = ("error", "keep")


@dataclass
class PairsConfig:
    """The table with one rated (query, item) pair a row."""

    file: str | None = setting("file or glob under data.path; null: data.path itself")
    query: str = setting("column with the query text; read from the query table when queries.file is set")
    query_id: str | None = setting("column with the query's id; null: made from the query text")
    item_id: str | None = setting("column with the product's id, the join key; null: made from the item's text")
    label: str | None = setting("column with the label or score; null: raters.columns decide")
    split: str | None = setting("column with a published split; null: split by a hash of the query")
    where: dict[str, list[str]] = setting("keep only rows whose column has one of these values; the others are counted")
    fields: dict[str, list[str]] = setting(
        "visible field -> its columns; one column: its text; several or a glob: 'name: value; ...'. "
        "Empty without a product table: every column named like a standard field"
    )


@dataclass
class ProductsConfig:
    """The product table, joined to the pairs by id."""

    file: str | None = setting("file or glob under data.path; null: the pairs hold the item's fields themselves")
    id: str = setting("column joined to pairs.item_id, both as text")
    where: dict[str, list[str]] = setting("keep only rows whose column has one of these values; the others are counted")
    fields: dict[str, list[str]] = setting("visible field -> its columns, as in pairs.fields")


@dataclass
class QueriesConfig:
    """The query table, joined to the pairs by id."""

    file: str | None = setting("file or glob under data.path; null: the pairs hold the query text")
    id: str = setting("column joined to pairs.query_id, both as text")


@dataclass
class LabelsConfig:
    """How a label cell becomes a grade."""

    grades: list[str] = setting("grade names from worst to best, 2 to 5 of them")
    relevant_from: str = setting("the lowest grade that counts as relevant")
    mapping: dict[str, str] = setting("label value -> grade name; empty (and no cuts): values are grade names or 0..n-1")
    cuts: list[float] = setting("cut points of a score, ascending, one fewer than grades; score >= cut is the next grade")
    low: float | None = setting("lowest legal score; anything below is an unknown label; null: unbounded")
    high: float | None = setting("highest legal score; anything above is an unknown label; null: unbounded")


@dataclass
class GuideConfig:
    """What the people who rated were told, for prompts that say it (prompt=medium, prompt=long)."""

    definitions: dict[str, str] = setting("grade name -> what the grade means; for every grade, or empty")
    rules: dict[str, str] = setting("rule id -> the sentence that states it, the first wins")
    core: list[str] = setting("ids of the rules that prompt=medium states, too")


@dataclass
class RatersConfig:
    """The single raters behind a label."""

    file: str | None = setting("file under data.path joined by query text and item id; null: columns of the pairs table")
    columns: list[str] = setting("one column a rater, values as in labels; empty: no single raters known")
    policy: str = setting(
        "training label: the published one, or made from the raters (majority falls back to the median on a tie, "
        "the median of an even count is the lower one, first is the first rater alone)",
        choices=("published", "majority", "median", "first"),
    )


@dataclass
class SplitConfig:
    """How queries are dealt to train, validation and wild."""

    seed: int = setting("changes which queries are held out", ge=0)
    validation: float = setting("share of queries in validation", ge=0, lt=1)
    wild: float = setting("share of queries in wild, the test split; unused with a published split", ge=0, lt=1)
    values: dict[str, str] = setting("published split value -> train | validation | wild")


@dataclass
class ProblemsConfig:
    """What to do with each kind of bad input. Every kind is counted, with examples, whatever its policy."""

    encoding: str = setting("bytes that are not text in data.encoding (keep: as U+FFFD)", choices=ERROR_DROP_KEEP)
    malformed: str = setting("a row that does not parse or has too many or too few cells", choices=ERROR_DROP)
    long_line: str = setting("a row of more than problems.max_row characters", choices=ERROR_DROP)
    missing_column: str = setting("a visible field's column is absent (keep: empty field)", choices=ERROR_KEEP)
    unknown_label: str = setting("a label outside the mapping, not a number, or out of range", choices=ERROR_DROP)
    unknown_split: str = setting("a published split value outside split.values", choices=ERROR_DROP)
    empty_text: str = setting("an empty query, or an item whose visible fields are all empty", choices=ERROR_DROP_KEEP)
    unjoined: str = setting("an id that the joined table does not hold (keep: without its fields)", choices=ERROR_DROP_KEEP)
    unrated: str = setting("a pair without single raters (keep: the published label)", choices=ERROR_DROP_KEEP)
    duplicate_id: str = setting("an id twice in a joined table (drop: the first stays)", choices=ERROR_DROP)
    duplicate: str = setting("the same pair with the same label again (drop: the first stays)", choices=ERROR_DROP_KEEP)
    contradictory: str = setting("the same pair with another label (drop: all its rows)", choices=ERROR_DROP_KEEP)
    shared_query: str = setting("a query in several published splits (drop: it stays in the test split)", choices=ERROR_DROP_KEEP)
    max_row: int = setting("characters a row may have", ge=1)
    examples: int = setting("examples with row numbers kept of each kind", ge=0)


@dataclass
class CatalogueConfig:
    """Training pairs made from a catalogue's own attributes (kind: catalogue)."""

    kind_field: str | None = setting("visible field put first in a query, e.g. category; null: none")
    dimensions: list[str] = setting("fields needs are drawn from; 'name: value; ...' fields give one dimension a name")
    max_needs: int = setting("needs of one query, at most", ge=1)
    items_per_query: int = setting("items judged for one query: the one it was drawn from, siblings, others", ge=2)
    sibling_share: float = setting("share of the other items that agree on some need", ge=0, le=1)
    max_words: int = setting("words an attribute value may have to become a need", ge=1)


@dataclass
class TableConfig:
    """A source read from tables."""

    name: str = setting("the source's name")
    size: int | None = setting("training pairs; a smaller size is a subset of a larger one; null: all", ge=1)
    seed: int = setting("order of the training pairs, and so which ones a smaller size holds", ge=0)
    kind: str = setting("rated: judged pairs; catalogue: pairs made from products.fields", choices=("rated", "catalogue"))
    path: str = setting("directory or file")
    format: str | None = setting("how files are read; null: by suffix", choices=(None, "csv", "tsv", "jsonl", "parquet", "hf"))
    encoding: str = setting("text encoding of CSV, TSV and JSON lines")
    delimiter: str | None = setting("cell delimiter; null: comma, tab for tsv")
    quoting: bool = setting("whether double quotes group cells")
    scratch: str | None = setting("directory for the temporary index, about the tables' size; null: the system's")
    pairs: PairsConfig = field(default_factory=PairsConfig)
    products: ProductsConfig = field(default_factory=ProductsConfig)
    queries: QueriesConfig = field(default_factory=QueriesConfig)
    labels: LabelsConfig = field(default_factory=LabelsConfig)
    guide: GuideConfig = field(default_factory=GuideConfig)
    raters: RatersConfig = field(default_factory=RatersConfig)
    split: SplitConfig = field(default_factory=SplitConfig)
    problems: ProblemsConfig = field(default_factory=ProblemsConfig)
    catalogue: CatalogueConfig = field(default_factory=CatalogueConfig)


def read_config(name: str, **values: Any) -> TableConfig:
    """The config of `conf/data/<name>.yaml` outside Hydra, for notebooks and scripts; `values` override by dotted key."""
    folder = Path(__file__).parents[2] / "conf" / "data"
    layers = [OmegaConf.structured(TableConfig)]
    for layer in dict.fromkeys(("table", name)):
        node = OmegaConf.load(folder / f"{layer}.yaml")
        assert isinstance(node, DictConfig)
        node.pop("defaults")
        layers.append(node)
    root = OmegaConf.create()  # the files refer to their own values as data.*
    root.data = OmegaConf.merge(*layers)
    for key, value in values.items():
        OmegaConf.update(root, f"data.{key}", value, merge=False)
    config = OmegaConf.to_object(root.data)
    assert isinstance(config, TableConfig)
    return config
