"""The ready configs on small files of the published shapes, and chorus on its real files where they are."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from lore_lab.config.schema import register
from lore_lab.config.table import read_config
from lore_lab.data.example import Example
from lore_lab.data.leaks import check_leaks
from lore_lab.data.table import TableError, TableSource, open_table

ROOT = Path(__file__).parents[2]
CHORUS = ROOT.parent / "shared" / "data" / "chorus"
SPLITS = ("train", "validation", "wild")


def pairs(source) -> dict[tuple[str, str], Example]:
    return {(e.query, e.item_id): e for split in SPLITS for e in source.examples(split)}


def esci(folder: Path, examples: list[dict], products: list[dict]) -> None:
    pq.write_table(pa.Table.from_pylist(examples), folder / "shopping_queries_dataset_examples.parquet")
    pq.write_table(pa.Table.from_pylist(products), folder / "shopping_queries_dataset_products.parquet")


def esci_example(number: int, query: str, product: str, locale: str, label: str, split: str) -> dict:
    versions = {"small_version": 0, "large_version": 1}
    ids = {"example_id": number, "query": query, "query_id": number, "product_id": product, "product_locale": locale}
    return ids | {"esci_label": label} | versions | {"split": split}


def esci_product(product: str, locale: str, title: str, colour: str | None = None) -> dict:
    texts = {"product_title": title, "product_description": None, "product_bullet_point": "soft\nwarm", "product_brand": "Acme"}
    return {"product_id": product} | texts | {"product_color": colour, "product_locale": locale}


def test_esci(tmp_path):
    examples = [esci_example(i, f"query {i}", "P1", "us", "ESCI"[i % 4], "train" if i < 80 else "test") for i in range(100)]
    examples += [esci_example(200, "Query 3 ", "P2", "us", "E", "test"), esci_example(300, "consulta", "P1", "es", "I", "train")]
    products = [esci_product("P1", "us", "wool hat", "red"), esci_product("P1", "es", "gorro"), esci_product("P2", "us", "scarf")]
    esci(tmp_path, examples, products)
    source = TableSource(read_config("esci", path=str(tmp_path)))
    found = pairs(source)
    assert source.grades == ("irrelevant", "complement", "substitute", "exact")
    assert [found[f"query {i}", "P1"].label for i in range(4, 8)] == [3, 2, 1, 0]
    item = found["query 4", "P1"].item
    assert item == {
        "title": "wool hat",
        "brand": "Acme",
        "attributes": "color: red",
        "description": "product bullet point: soft\nwarm",
    }
    report = source.report()
    assert report["tables"]["pairs"]["filtered"] == 1
    assert report["tables"]["products"]["filtered"] == 1
    assert {e.query for e in source.examples("wild")} == {f"query {i}" for i in range(80, 100)} | {"Query 3"}
    assert 0 < source.size("validation") < 30
    # the query that the published test shares with train, but for case and spacing, left train and is counted
    assert report["tables"]["pairs"]["problems"]["shared_query"]["dropped"] == 1
    check_leaks(source)


def test_shared_published_queries_stop_a_run_unless_told(tmp_path):
    both = [esci_example(1, "hat", "P1", "us", "E", "train"), esci_example(2, "hat", "P2", "us", "E", "test")]
    esci(tmp_path, both, [esci_product("P1", "us", "hat"), esci_product("P2", "us", "cap")])
    with pytest.raises(TableError, match=r"'hat' is in train and in wild|'hat' is in validation and in wild"):
        TableSource(read_config("esci", path=str(tmp_path), **{"problems.shared_query": "error"})).size("train")


def test_wands(tmp_path):
    (tmp_path / "query.csv").write_text("query_id\tquery\tquery_class\n0\tsalon chair\tMassage Chairs\n1\tbed\tBeds\n")
    columns = ["product_id", "product_name", "product_class", "category hierarchy", "product_description", "product_features"]
    rows = [[*columns, "rating_count", "average_rating", "review_count"]]
    rows.append(["7", "barber chair", "Chairs", "Furniture / Chairs", 'a "chair"', "colour : black|width : 3", "1.0", "4.5", "1.0"])
    (tmp_path / "product.csv").write_text("".join("\t".join(row) + "\n" for row in rows))
    (tmp_path / "label.csv").write_text("id\tquery_id\tproduct_id\tlabel\n0\t0\t7\tExact\n1\t1\t7\tIrrelevant\n")
    found = pairs(TableSource(read_config("wands", path=str(tmp_path))))
    assert {key: example.label for key, example in found.items()} == {("salon chair", "7"): 2, ("bed", "7"): 0}
    assert found["bed", "7"].item["description"] == 'a "chair"'
    assert found["bed", "7"].query_id == "1"


def test_crowdflower(tmp_path):
    head = "id,query,product_title,product_description,median_relevance,relevance_variance\n"
    rows = '1,"led lights","Set of 10 Lights","Made of ""steel"", long",1,0\n4,led lights,Battery Lights,,4,0.471\n'
    (tmp_path / "train.csv").write_text(head + rows)
    source = TableSource(read_config("crowdflower", path=str(tmp_path / "train.csv")))
    assert {e.item["title"]: e.label for e in pairs(source).values()} == {"Set of 10 Lights": 0, "Battery Lights": 3}


def test_homedepot(tmp_path):
    scores = ["1", "1.33", "1.67", "2.33", "2.67", "3"]
    rows = "".join(f'{i},{100 + i},"6 ft. d\xe9cor {i}",angle bracket,{score}\n' for i, score in enumerate(scores))
    (tmp_path / "train.csv").write_bytes(("id,product_uid,product_title,search_term,relevance\n" + rows).encode("latin-1"))
    described = "product_uid,product_description\n" + "".join(f"{100 + i},Not only\n" for i in range(6))
    (tmp_path / "product_descriptions.csv").write_bytes(described.encode("latin-1"))
    found = pairs(TableSource(read_config("homedepot", path=str(tmp_path))))
    assert [found["angle bracket", str(100 + i)].label for i in range(6)] == [0, 0, 1, 1, 2, 2]
    assert found["angle bracket", "100"].item == {"title": "6 ft. décor 0", "description": "Not only"}
    (tmp_path / "train.csv").write_text("id,product_uid,product_title,search_term,relevance\n0,100,t,q,33\n")
    with pytest.raises(TableError, match=r"score 33 is outside 1\.0\.\.3\.0"):
        TableSource(read_config("homedepot", path=str(tmp_path))).size("train")


def test_raters_inline_without_a_published_label(tmp_path):
    (tmp_path / "pairs.csv").write_text("query,title,a,b,c\nq1,t,0,2,2\nq2,t,0,1,2\nq3,t,0,,2\n")
    settings = {"pairs.label": None, "raters.columns": ["a", "b", "c"], "raters.policy": "majority"}
    settings |= {"labels.grades": ["bad", "fair", "good"], "labels.relevant_from": "good"}
    source = TableSource(read_config("table", path=str(tmp_path / "pairs.csv"), **settings))
    assert {e.query: (e.label, e.gold, e.difficulty) for e in pairs(source).values()} == {
        "q1": (2, 2, 1.0),
        "q2": (1, 1, 1.0),  # a tie: the median
        "q3": (0, 0, 1.0),  # the lower median of two
    }


@pytest.mark.parametrize("name", ["table", "esci", "wands", "chorus", "crowdflower", "homedepot", "catalogue"])
def test_every_config_is_complete_and_says_how_to_use_it(name):
    path = ROOT / "conf" / "data" / f"{name}.yaml"
    assert f"python train.py data={name}" in path.read_text().splitlines()[0]
    config = read_config(name, path="somewhere")
    assert config.name == name
    assert "???" not in OmegaConf.to_yaml(config)


@pytest.mark.parametrize("name", ["table", "esci", "wands", "chorus", "crowdflower", "homedepot", "catalogue"])
def test_hydra_composes_the_same_config(name):
    register()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        composed = compose(overrides=[f"+data={name}", "data.path=somewhere"])
    assert OmegaConf.to_object(composed.data) == read_config(name, path="somewhere")


needs_chorus = pytest.mark.skipif(not CHORUS.exists(), reason=f"the chorus files are not at {CHORUS}")


@pytest.fixture(scope="module")
def chorus():
    return TableSource(read_config("chorus", path=str(CHORUS)))


@needs_chorus
def test_chorus_counts(chorus):
    report = chorus.report()
    labels = [sum(split["labels"][grade] for split in report["splits"].values()) for grade in chorus.grades]
    assert labels == [1853, 238, 105, 1472]
    assert sum(split["queries"] for split in report["splits"].values()) == 135
    assert report["tables"]["products"]["rows"] == 19_406
    problems = {kind: p["count"] for kind, p in report["tables"]["pairs"]["problems"].items() if p["count"]}
    assert problems == {"unrated": 3668 - 3188}
    assert len(pairs(chorus)) == 3668
    assert sum(check_leaks(chorus).values()) == 135


@needs_chorus
def test_chorus_items_and_raters(chorus):
    example = pairs(chorus)["keyboard", "1644533"]
    assert example.item["brand"] == "Origin Storage"
    assert "product colour: Black" in example.item["attributes"]
    assert "touchscreen: no" in example.item["attributes"]
    first = pairs(open_table(read_config("chorus", path=str(CHORUS), **{"raters.policy": "first"})))["bluetooth speaker", "1993197"]
    assert (first.label, first.gold) == (2, 3)
    assert first.difficulty == pytest.approx(1 / 3)
    assert len(list(chorus.texts(20_000))) == 20_000
