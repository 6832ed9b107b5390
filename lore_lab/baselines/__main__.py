"""Baselines of a table on its test splits: python -m lore_lab.baselines chorus PATH [field,field,...]"""

from __future__ import annotations

import sys

import pandas as pd

from lore_lab.baselines.report import measure, rankings
from lore_lab.config.table import read_config
from lore_lab.data.table import TableSource


def main(name: str, path: str, fields: str = "title,description") -> None:
    source = TableSource(read_config(name, path=path))
    visible = fields.split(",")
    with pd.option_context("display.width", 160, "display.max_columns", None):
        print(f"{name}, fields {fields}\n\nfitted on train:\n{measure(source, visible).round(3)}\n")
        print(f"every rated query, BM25:\n{rankings(source, visible).round(3).to_string()}")


if __name__ == "__main__":
    main(*sys.argv[1:])
