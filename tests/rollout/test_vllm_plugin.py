"""What vLLM finds of lore_lab without being told. What it does to a real vLLM is tested by `make test-vllm`."""

from __future__ import annotations

import sys
from importlib.metadata import entry_points
from types import SimpleNamespace

import pytest


@pytest.mark.parametrize("cpu", [True, False])
def test_weights_are_kept_loose_on_a_cpu_alone(monkeypatch: pytest.MonkeyPatch, cpu: bool) -> None:
    operations = SimpleNamespace(_supports_onednn=True)
    platform = SimpleNamespace(current_platform=SimpleNamespace(is_cpu=lambda: cpu))
    monkeypatch.setitem(sys.modules, "vllm.platforms", platform)
    monkeypatch.setitem(sys.modules, "vllm._custom_ops", operations)
    (plugin,) = entry_points(group="vllm.general_plugins", name="lore_lab")
    plugin.load()()
    assert operations._supports_onednn is not cpu
