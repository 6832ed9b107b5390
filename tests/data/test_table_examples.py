"""The table configs shown in the documentation are ones."""

from __future__ import annotations

import re
from pathlib import Path

from omegaconf import OmegaConf

from lore_lab.config.table import TableConfig
from lore_lab.data.table.source import check_config

ROOT = Path(__file__).parents[2]


def test_a_shown_config_of_ones_own_data_is_valid_with_the_guide_shown_for_it() -> None:
    shown = [
        block
        for page in ("data.md", "prompts.md")
        for block in re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / page).read_text(), re.DOTALL)
    ]
    assert len(shown) == 2
    layers = [OmegaConf.create(text) for text in ((ROOT / "conf/data/table.yaml").read_text(), *shown)]
    for layer in layers:
        layer.pop("defaults", None)
    config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(TableConfig), *layers, {"path": "pairs"}))
    assert isinstance(config, TableConfig)
    assert set(config.guide.definitions) == set(config.labels.grades)
    check_config(config)
