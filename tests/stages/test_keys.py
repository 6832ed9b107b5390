"""Stage keys: what could change a result changes them, nothing else does."""

import shutil
from pathlib import Path

import pytest

from lore_lab.stages import keys


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small package in lore_lab's place: stage -> helper, data file beside; `analysis` is not reached."""
    root = tmp_path / "lore_lab"
    (root / "sub").mkdir(parents=True)
    (root / "__init__.py").write_text("")
    (root / "stage.py").write_text("from lore_lab.sub.helper import f\n\ndef run():\n    return f()\n")
    (root / "analysis.py").write_text("x = 1\n")
    (root / "sub" / "__init__.py").write_text("")
    (root / "sub" / "words.yaml").write_text("a: 1\n")
    (root / "sub" / "helper.py").write_text('"""Doc."""\n\ndef f():\n    """Doc."""\n    return 1  # why\n')
    monkeypatch.setattr(keys, "_ROOT", root)
    keys._inspect.cache_clear()
    yield root
    keys._inspect.cache_clear()
    shutil.rmtree(root)


def code() -> str:
    keys._inspect.cache_clear()
    return keys.code_hash(["lore_lab.stage"])


@pytest.mark.parametrize(
    ("file", "old", "new", "changes"),
    [
        ("sub/helper.py", "return 1", "return 2", True),
        ("sub/words.yaml", "a: 1", "a: 2", True),
        ("stage.py", "return f()", "return f() + 1", True),
        ("sub/helper.py", "# why", "# because", False),
        ("sub/helper.py", '"""Doc."""', '"""Other words."""', False),
        ("analysis.py", "x = 1", "x = 2", False),
    ],
)
def test_code_hash_follows_what_the_stage_can_run(package: Path, file: str, old: str, new: str, changes: bool) -> None:
    before = code()
    path = package / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    assert (code() != before) is changes


def test_type_checking_imports_are_not_followed(package: Path) -> None:
    stage = package / "stage.py"
    stage.write_text("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from lore_lab.analysis import x\n" + stage.read_text())
    keys._inspect.cache_clear()
    assert keys.reachable(["lore_lab.stage"]) == {"lore_lab", "lore_lab.stage", "lore_lab.sub", "lore_lab.sub.helper"}


def test_imports_inside_functions_are_followed(package: Path) -> None:
    (package / "stage.py").write_text("def run():\n    import lore_lab.analysis\n")
    keys._inspect.cache_clear()
    assert "lore_lab.analysis" in keys.reachable(["lore_lab.stage"])


def test_key_depends_on_slice_inputs_code_and_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    def key(config: dict = {"size": 1}, inputs: dict = {"data": "a"}) -> str:  # noqa: B006
        return keys.stage_key("sft", config, inputs, ["lore_lab.stages.device"], ["numpy"])[0]

    assert key() == key()
    assert len({key(), key(config={"size": 2}), key(inputs={"data": "b"})}) == 3
    before = key()
    monkeypatch.setattr(keys, "version", lambda library: "0.0")
    assert key() != before


def test_slices_do_not_depend_on_dict_order() -> None:
    assert keys.digest({"a": 1, "b": 2}) == keys.digest({"b": 2, "a": 1})
