"""Stage `pretrained`: the policy before any relevance label, as someone else trained it. Its weights stay where they are."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from transformers import AutoConfig

from lore_lab.models.checkpoint import SMALL, check, is_hub_id
from lore_lab.stages.context import StageContext
from lore_lab.train.common import NOTE, load_tokenizer, pretrained_folder


def run(context: StageContext) -> dict[str, Any]:
    """Leaves the config, the tokenizer and a note of where the weights are; metrics say how large they are."""
    model = context.settings.model
    weights = {"path": str(Path(model.path).expanduser().resolve())}
    if is_hub_id(model.path):
        weights = {"path": model.path, "revision": model.revision}
    folder = pretrained_folder(weights)
    check(str(folder))
    for file in (file for pattern in SMALL for file in folder.glob(pattern)):
        shutil.copyfile(file, context.output / file.name)
    note = {"dtype": model.dtype, "attention": model.attention, "weights": weights}
    (context.output / NOTE).write_text(json.dumps(note), encoding="utf-8")
    AutoConfig.from_pretrained(context.output, trust_remote_code=False)
    tokenizer = load_tokenizer(context.output)
    files = list(folder.glob("*.safetensors"))
    return {"vocabulary": len(tokenizer), "weight_files": len(files), "weight_bytes": sum(file.stat().st_size for file in files)}
