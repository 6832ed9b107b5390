"""Output folders with invented numbers."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from fake_tree import write_sweep


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clip arms, five seeds, all done. Read only."""
    root = tmp_path_factory.mktemp("outputs")
    write_sweep(root, {"rl.clip_high": ["0.2", "0.28"], "seed": ["0", "1", "2", "3", "4"]})
    return root
