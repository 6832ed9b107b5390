"""Which device a stage will use, told without importing torch, so that it can be part of the key."""

from __future__ import annotations

import os
from pathlib import Path

from lore_lab.stages.keys import version

#: set for the jobs of a launcher: what `auto` was resolved to where the command was given, so that plan and job agree
AUTO_DEVICE = "LORE_LAB_DEVICE"


def resolve_device(device: str) -> str:
    """cpu or cuda. `auto` is cuda where torch is a CUDA build, a driver is loaded and a GPU is visible.

    The stage checks the answer against torch when it starts.
    """
    if device != "auto":
        return device
    if AUTO_DEVICE in os.environ:
        return os.environ[AUTO_DEVICE]
    built = not version("torch").endswith("+cpu")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0") not in ("", "-1")
    return "cuda" if built and visible and Path("/proc/driver/nvidia/version").exists() else "cpu"
