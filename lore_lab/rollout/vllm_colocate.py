"""rollout=vllm_colocate: a vLLM engine inside the stage's process, made and given its weights by TRL's VLLMGeneration.

TRL merges LoRA adapters while it hands the weights over, and gathers sharded ones. In RL its trainer makes the engine; elsewhere it is made here.
"""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import set_seed

from lore_lab.rollout.vllm import Reply, Request, VllmEngine, correction

if TYPE_CHECKING:
    from lore_lab.rollout.choose import Place


class VllmColocate(VllmEngine):
    def __init__(self, place: Place) -> None:
        rollout = place.settings.rollout
        super().__init__(place.ends, rollout.max_logp_difference)
        self._threads = place.settings.compute.threads
        self._engine = {"gpu_memory_utilization": rollout.gpu_memory_utilization, "max_model_length": place.tokens}
        if place.trains:
            told = {f"vllm_{name}": value for name, value in self._engine.items()}
            self.arguments = {"use_vllm": True, "vllm_mode": "colocate"} | told | correction(rollout)
        prepare(place.settings.compute.device, place.settings.compute.precision)
        self._generation: Any = None
        if not place.trains:
            accelerator = importlib.import_module("accelerate").Accelerator(cpu=place.settings.compute.device == "cpu")
            make = importlib.import_module("trl.generation.vllm_generation").VLLMGeneration
            self._generation = make(place.model, accelerator, place.tokenizer, mode="colocate", **self._engine)
            self._generation.sync_weights()
            torch.set_num_threads(self._threads)
            self.check(place.model, place.tokenizer.pad_token_id)

    def attach(self, trainer: Any) -> None:
        self.trainer, self._generation = trainer, trainer.vllm_generation
        torch.set_num_threads(self._threads)  # the engine takes the machine's
        set_seed(trainer.args.seed, device_specific=True)  # making the engine has set every generator to the process number

    def answer(self, requests: Sequence[Request]) -> list[Reply]:
        parameters = importlib.import_module("vllm").SamplingParams
        prompts = [{"prompt_token_ids": request.prompt} for request in requests]
        chosen = [parameters(**request_arguments(request, self.ends), detokenize=False) for request in requests]
        found = self._generation.llm.generate(prompts, sampling_params=chosen, use_tqdm=False)
        return [_reply(request, output) for request, output in zip(requests, found, strict=True)]


def request_arguments(request: Request, ends: Sequence[int]) -> dict[str, Any]:
    """vLLM's sampling parameters, each one given: what is left out, a server takes from the checkpoint's own generation settings."""
    sampling = request.sampling
    asked = {"prompt_logprobs": 0} if request.scored else {"logprobs": 0}
    return asked | {
        "n": 1,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "min_p": 0.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "repetition_penalty": 1.0,
        "seed": request.seed,
        "max_tokens": sampling.max_tokens,
        "stop_token_ids": list(ends),
        "skip_special_tokens": False,
    }


def _reply(request: Request, output: Any) -> Reply:
    if request.scored:
        pairs = list(zip(request.prompt, output.prompt_logprobs, strict=True))[1:]
        return Reply([], [found[token].logprob for token, found in pairs])
    completion = output.outputs[0]
    ids = list(completion.token_ids)
    return Reply(ids, [found[token].logprob for token, found in zip(ids, completion.logprobs, strict=True)])


DTYPES = {"fp32": "float32", "bf16": "bfloat16"}


def prepare(device: str, precision: str) -> None:
    """Before an engine is made in this process. No usage statistics are sent."""
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    # Two stages of a sweep that start at once would both find TRL's default port free.
    os.environ.setdefault("MASTER_PORT", str(importlib.import_module("vllm.utils.network_utils").get_open_port()))
    # TRL names no dtype, and vLLM halves the precision of fp32 weights by itself. On a CPU it would compile for minutes.
    options = {"dtype": DTYPES[precision], "enforce_eager": device == "cpu"}
    maker: Any = importlib.import_module("trl.generation.vllm_generation")
    maker.LLM = functools.partial(importlib.import_module("vllm").LLM, **options)


def build(place: Place) -> VllmColocate:
    return VllmColocate(place)
