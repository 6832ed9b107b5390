"""What a `vllm serve` process answers, by a transformers model in this process: completions of token ids, its settings, a reload from a folder."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file


class Served:
    """model: what the server computes with. reloads: how often it took new weights; deaf: it says it did and does not."""

    def __init__(self, model: Any) -> None:
        self.model = model.eval()
        self.reloads, self.deaf = 0, False
        self.requests: list[dict[str, Any]] = []
        self.settings = {"logprobs_mode": "processed_logprobs", "max_model_len": 600}
        self.lock = threading.Lock()

    def get(self, path: str) -> Any:
        if path.startswith("/server_info"):
            return {"vllm_config": {"model_config": self.settings}}
        return {"data": [{"id": "policy"}]}

    @torch.no_grad()
    def post(self, path: str, body: dict[str, Any]) -> Any:
        if path == "/collective_rpc":
            assert body["method"] == "reload_weights"
            self.reloads += 1
            if not self.deaf:
                weights = load_file(Path(body["kwargs"]["weights_path"]) / "model.safetensors")
                missing, unexpected = self.model.load_state_dict(weights, strict=False)
                assert not unexpected
                assert set(missing) <= {"lm_head.weight"}
                self.model.tie_weights()
            return {"results": [None]}
        if path == "/reset_prefix_cache":
            return {"success": True}
        self.requests.append(body)
        if "prompt_logprobs" in body:
            found = self._log_probs(body["prompt"])
            return {
                "choices": [
                    {"prompt_logprobs": [None, *({str(t): {"logprob": p}} for t, p in zip(body["prompt"][1:], found, strict=True))]}
                ]
            }
        ids, log_probs = self._sample(body)
        return {"choices": [{"token_ids": ids, "logprobs": {"token_logprobs": log_probs}}]}

    def _log_probs(self, ids: list[int]) -> list[float]:
        rows = self.model(torch.tensor([ids])).logits[0].log_softmax(-1)
        return [float(rows[place, token]) for place, token in enumerate(ids[1:])]

    def _sample(self, body: dict[str, Any]) -> tuple[list[int], list[float]]:
        generator = torch.Generator().manual_seed(body["seed"] or 0)
        ids: list[int] = []
        log_probs: list[float] = []
        while len(ids) < body["max_tokens"] and not (ids and ids[-1] in body["stop_token_ids"]):
            logits = self.model(torch.tensor([[*body["prompt"], *ids]])).logits[0, -1]
            row = (logits / (body["temperature"] or 1.0)).log_softmax(-1)
            token = int(torch.multinomial(row.exp(), 1, generator=generator)) if body["temperature"] else int(row.argmax())
            ids.append(token)
            log_probs.append(float(row[token]))
        return ids, log_probs


@contextmanager
def serving(served: Served) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(served.get(self.path))

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with served.lock:
                self._answer(served.post(self.path, body))

        def _answer(self, content: Any) -> None:
            text = json.dumps(content).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
