"""What every trainer needs: seeds, the policy and its tokenizer, trainer arguments, the callback that records each step."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
import transformers
from huggingface_hub import snapshot_download
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    PrinterCallback,
    Trainer,
    TrainerCallback,
)

from lore_lab.models.checkpoint import SMALL

if TYPE_CHECKING:
    from lore_lab.config.optimizer import OptimizerConfig

#: of a policy artifact: dtype, attention, and what it stands on where its folder is no whole model. `on`: the policy below an adapter, relative to the
#: folder; `weights`: path and revision of pretrained ones.
NOTE = "policy.json"
ADAPTER = "adapter_model.safetensors"
Log = Callable[[int, Mapping[str, float]], None]
Report = Callable[[int, int, str], None]


def stage_seed(seed: int, stage: str) -> int:
    """A seed of its own for each stage, so that two stages of one run never share a random stream. 0 is a seed like any other."""
    return int.from_bytes(hashlib.blake2b(f"{stage}/{seed}".encode(), digest_size=4).digest(), "big") % (2**31)


def prepare(device: str, threads: int) -> None:
    """Fix the number of threads, quieten the libraries, check the planned device against torch's own view, and take this rank's GPU."""
    torch.set_num_threads(threads)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    available = torch.cuda.is_available()
    if (device == "cuda") != available and not (device == "cpu" and available):
        raise RuntimeError(
            f"the plan says compute.device={device}, torch says CUDA is {'there' if available else 'not there'}; set compute.device"
        )
    if device == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))


def load_tokenizer(path: Path) -> PreTrainedTokenizerBase:
    """The tokenizer as it was saved. AutoTokenizer goes by the model's type and gives a tokenizer trained here Qwen's splitting rules."""
    declared = json.loads((path / "tokenizer_config.json").read_text(encoding="utf-8")).get("tokenizer_class")
    kind: Any = PreTrainedTokenizerFast if declared == "TokenizersBackend" else AutoTokenizer
    tokenizer = kind.from_pretrained(path, trust_remote_code=False)
    if tokenizer.pad_token_id is None:  # Llama has none: padding is masked everywhere, so any token serves
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_policy(path: Path, device: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Model (on `device`, in the type its weights are kept in, adapters merged) and tokenizer of a policy artifact.

    Safetensors only, no remote code.
    """
    return _load(path).to(device), load_tokenizer(path)


def _load(path: Path) -> Any:
    note = json.loads((path / NOTE).read_text(encoding="utf-8"))
    if "on" in note:
        if not (path / ADAPTER).is_file():  # peft would take a pickled one instead
            raise FileNotFoundError(f"{path / ADAPTER} is missing")
        return PeftModel.from_pretrained(_load(path / note["on"]), str(path), torch_device="cpu").merge_and_unload(safe_merge=True)
    folder = pretrained_folder(note["weights"]) if "weights" in note else path
    sees = hasattr(AutoConfig.from_pretrained(folder, trust_remote_code=False), "vision_config")
    kind: Any = AutoModelForImageTextToText if sees else AutoModelForCausalLM
    return kind.from_pretrained(
        folder,
        dtype=note["dtype"],
        attn_implementation=note["attention"],
        trust_remote_code=False,
        use_safetensors=True,
    )


def pretrained_folder(weights: Mapping[str, str]) -> Path:
    """Where pretrained weights lie: the directory itself, or a hub id's snapshot of one commit, downloaded where it is not there yet."""
    if "revision" not in weights:
        return Path(weights["path"])
    return Path(snapshot_download(weights["path"], revision=weights["revision"], allow_patterns=[*SMALL, "*.safetensors"]))


def save_policy(model: Any, tokenizer: PreTrainedTokenizerBase, path: Path, on: Path | None = None) -> None:
    """What a stage hands on: the whole model, or only its adapter. on: the policy that an adapter was trained on, an artifact of the same store.

    Raises ValueError for an adapter without `on`.
    """
    note = {"dtype": str(model.dtype).removeprefix("torch."), "attention": model.config._attn_implementation}
    if isinstance(model, PeftModel):
        if on is None:
            raise ValueError("an adapter is nothing without the policy that it was trained on")
        model.save_pretrained(str(path), selected_adapters=["default"], save_embedding_layers=False)
        note["on"] = str(Path("..", "..", on.parent.name, on.name))  # store/<stage>/<key>: a store that is moved keeps its policies
    else:
        model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    (path / NOTE).write_text(json.dumps(note), encoding="utf-8")


def adapted(model: PreTrainedModel, peft: Any, seed: int) -> Any:
    """`model` itself under peft=none, else wrapped with a fresh adapter, which changes nothing yet, in float32; only it is trained.

    Raises ValueError for a target that the model lacks.
    """
    if peft.name == "none":
        return model
    layers = {name.rpartition(".")[2] for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    missing = sorted(set(peft.targets) - layers)
    if missing:
        raise ValueError(f"peft.targets: the model has no linear layer {', '.join(missing)}; there are {', '.join(sorted(layers))}")
    torch.manual_seed(seed)
    settings = LoraConfig(
        r=peft.rank, lora_alpha=peft.alpha, lora_dropout=peft.dropout, target_modules=list(peft.targets), bias="none", task_type="CAUSAL_LM"
    )
    return get_peft_model(model, settings)


def optimizer_arguments(config: OptimizerConfig) -> dict[str, Any]:
    """The fields of `OptimizerConfig` under transformers' names."""
    names = ("learning_rate", "lr_scheduler_type", "weight_decay", "adam_beta1", "adam_beta2", "adam_epsilon", "max_grad_norm")
    return {name: getattr(config, name) for name in names} | {"warmup_steps": config.warmup_steps, "optim": "adamw_torch"}


#: trainer arguments of the ways to shard a model
_SHARDED: dict[str, Callable[[Any], dict[str, Any]]] = {
    "fsdp2": lambda sharding: {"fsdp": True, "fsdp_config": plain_data(sharding)},
    "deepspeed": lambda sharding: {"deepspeed": plain_data(sharding)},
}


def plain_data(content: Any) -> Any:
    """A namespace of settings as nested dictionaries."""
    if isinstance(content, SimpleNamespace):
        return {name: plain_data(value) for name, value in vars(content).items()}
    return dict(content) if isinstance(content, Mapping) else content


def gather_weights(trainer: Trainer) -> None:
    """Put the whole of a sharded model into rank 0's trainer.model; copies (DDP) are whole already. Every rank has to call it."""
    if not trainer.args.fsdp and not trainer.args.deepspeed:
        return
    model: Any = trainer.model
    state = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    if trainer.args.process_index == 0:
        for name, parameter in list(model.named_parameters()):
            owner, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(owner), leaf, torch.nn.Parameter(state[name].to(parameter.dtype)))


def common_arguments(output: Path, seed: int, compute: Any, save_steps: int) -> dict[str, Any]:
    """Trainer arguments that no experiment varies. save_steps: optimizer steps between checkpoints, 0 for none."""
    return {
        "output_dir": str(output),
        "seed": seed,
        "data_seed": seed,
        "use_cpu": compute.device == "cpu",
        "bf16": compute.precision == "bf16",
        "fp16": False,
        "tf32": None,
        "gradient_checkpointing": compute.gradient_checkpointing,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "report_to": [],
        "disable_tqdm": True,
        "dataloader_num_workers": 0,
        "save_strategy": "steps" if save_steps else "no",
        "save_steps": save_steps or 1,
        "save_total_limit": 1,
        "push_to_hub": False,
        "torch_compile": False,
        "ddp_backend": ("gloo" if compute.device == "cpu" else "nccl") if compute.processes > 1 else None,
        "ddp_find_unused_parameters": False,
        "ddp_broadcast_buffers": False,
        "average_tokens_across_devices": True,
    } | _SHARDED.get(compute.distributed, lambda sharding: {})(vars(compute).get("sharding"))


class Recorder(TrainerCallback):
    """Hands every optimizer step's metrics to the curves and the progress display."""

    def __init__(self, log: Log, report: Report, shown: str) -> None:
        """shown: the metric a person watches."""
        self._log, self._report, self._shown = log, report, shown
        self._text = ""

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        numbers = {name: value for name, value in (logs or {}).items() if isinstance(value, (int, float)) and not name.startswith("train_")}
        if not numbers:
            return
        self._log(state.global_step, numbers)
        if self._shown in numbers:  # GRPO has a reward only where it generates
            self._text = f"{self._shown} {numbers[self._shown]:.3f}"
        self._report(state.global_step, state.max_steps, self._text)


def run_trainer(trainer: Trainer, work: Path) -> None:
    """Train, from the last checkpoint in `work` where there is one. The curves are the record, so the trainer prints nothing."""
    trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=resume_point(work))


def last_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint. Trainer writes its state file last, so a folder without a whole one was cut by a kill."""
    complete = [path for path in folder.glob("checkpoint-*") if _whole(path / "trainer_state.json")]
    return max(complete, key=_step, default=None)


def _whole(state: Path) -> bool:
    try:
        json.loads(state.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def resume_point(work: Path) -> str | None:
    """The checkpoint a restarted stage continues from, noted in resumed.json for the record; None for a fresh start."""
    checkpoint = last_checkpoint(work / "checkpoints")
    if checkpoint is None:
        return None
    if int(os.environ.get("RANK", 0)) == 0:
        (work / "resumed.json").write_text(json.dumps({"step": _step(checkpoint)}), encoding="utf-8")
    return str(checkpoint)
