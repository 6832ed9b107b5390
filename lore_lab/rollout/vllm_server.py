"""rollout=vllm_server: a `vllm serve` process elsewhere, given weights through a folder that both see and vLLM's own reload.

TRL's server mode sends weights over NCCL and so needs a GPU on both sides; a folder needs a shared file system and works everywhere. One stage at a
time may hold a server: another one's weights would be served to it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from filelock import FileLock
from safetensors.torch import save_file

from lore_lab.endpoint import Endpoint, EndpointError
from lore_lab.rollout.vllm import Reply, Request, VllmEngine, correction
from lore_lab.rollout.vllm_colocate import request_arguments

if TYPE_CHECKING:
    from pathlib import Path

    from lore_lab.rollout.choose import Place

ATTEMPTS, BACKOFF = 5, 1.0  #: of one call; seconds before the second
HOW = "start it with VLLM_SERVER_DEV_MODE=1 vllm serve MODEL --logprobs-mode processed_logprobs"


class VllmServer(VllmEngine):
    def __init__(self, place: Place) -> None:
        rollout = place.settings.rollout
        super().__init__(place.ends, rollout.max_logp_difference)
        self._address, self._concurrency = rollout.base_url.rstrip("/"), rollout.concurrency
        self._endpoint = Endpoint(self._address, None, rollout.timeout, ATTEMPTS, BACKOFF, rollout.concurrency, float("inf"))
        self._source, self._folder = place.model, place.work / "served"
        assert place.shared is not None
        self._lock = _lock(place.shared, self._address)
        self._lock.acquire()
        self._model = self._served(place.tokens)
        if place.trains:  # with use_vllm TRL would open an NCCL group; `attach` gives its trainer this engine instead
            self.arguments = {"use_vllm": False} | correction(rollout)
        else:
            self.sync_weights()
            self.check(place.model, place.tokenizer.pad_token_id)

    def attach(self, trainer: Any) -> None:
        self.trainer, self._source = trainer, trainer.model
        trainer.use_vllm, trainer.vllm_generation, trainer._last_loaded_step = True, self, -1

    def answer(self, requests: Sequence[Request]) -> list[Reply]:
        with ThreadPoolExecutor(self._concurrency) as pool:
            return list(pool.map(self._one, requests))

    def _one(self, request: Request) -> Reply:
        payload = {"model": self._model, "prompt": request.prompt, "return_token_ids": True, **request_arguments(request, self.ends)}
        choice = self._call("/v1/completions", payload)["choices"][0]
        if request.scored:
            found = choice["prompt_logprobs"]
            return Reply([], [found[place][str(token)]["logprob"] for place, token in enumerate(request.prompt) if place])
        return Reply(choice["token_ids"], choice["logprobs"]["token_logprobs"])

    def sync_weights(self) -> None:
        """Write the policy's weights, adapters merged, where the server reads them, and have it do so."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with merged_weights(self._source) as weights:
            save_file(weights, self._folder / "model.safetensors", metadata={"format": "pt"})
        self._call("/collective_rpc", {"method": "reload_weights", "kwargs": {"weights_path": str(self._folder.resolve())}})
        self._call("/reset_prefix_cache", {})

    def _served(self, tokens: int) -> str:
        """The name the server knows its model by. Raises EndpointError where it was not started as it has to be."""
        entry = self._call("/v1/models", method="GET")["data"][0]
        config = self._call("/server_info?config_format=json", method="GET")["vllm_config"]["model_config"]
        if config["logprobs_mode"] != "processed_logprobs":
            raise EndpointError(f"the vLLM server at {self._address} returns {config['logprobs_mode']}, not what it samples from: {HOW}")
        if config["max_model_len"] < tokens:
            raise EndpointError(f"the vLLM server at {self._address} takes {config['max_model_len']} tokens, this stage needs {tokens}")
        name: str = entry["id"]
        return name

    def _call(self, path: str, payload: Any = None, method: str = "POST") -> Any:
        answer = self._endpoint.call(path, payload, method)
        if answer.status == 200:
            return answer.content
        advice = f"; {HOW}" if answer.status in (0, 404) else ""
        raise EndpointError(f"the vLLM server at {self._address} answers {path} with HTTP {answer.status}: {answer.text}{advice}")


@contextmanager
def merged_weights(model: Any) -> Iterator[dict[str, torch.Tensor]]:
    """The model's weights by the names of a checkpoint, tied ones once, LoRA adapters merged in for as long as the context lasts."""
    adapters = hasattr(model, "merge_adapter")
    if adapters:
        model.merge_adapter()
    try:
        named = {_name(name): value for name, value in model.named_parameters() if not (adapters and _of_adapter(name, model.prefix))}
        yield {name: value.detach().to("cpu").contiguous() for name, value in named.items()}
    finally:
        if adapters:
            model.unmerge_adapter()


def _of_adapter(name: str, prefix: str) -> bool:
    return prefix in name or "original_module" in name


def _name(name: str) -> str:
    """A parameter's name without what PEFT puts around it."""
    return name.removeprefix("base_model.model.").replace(".base_layer", "").replace("modules_to_save.default.", "")


def _lock(shared: Path, address: str) -> FileLock:
    path = shared / "servers" / f"{hashlib.sha256(address.encode()).hexdigest()[:16]}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(path, thread_local=False)


def build(place: Place) -> VllmServer:
    return VllmServer(place)
