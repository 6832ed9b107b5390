"""Asking the teacher: each distinct request is paid for once, its reply kept under the request's hash, and the tokens are counted."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lore_lab.endpoint import RETRIED, Answer, Endpoint, EndpointError, read_key
from lore_lab.stages.store import write_json

Message = Mapping[str, str]


class Unusable(Exception):
    """A reply that cannot become reasoning. reason: one of a few words, counted; detail: for people."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


class Replies:
    """Chat completions of one model, from `folder` where a reply to the same request lies there.

    settings: `teacher`. counts: calls (distinct requests answered), kept (of them answered from the folder), tokens_in, tokens_out,
    uncounted (replies that named no token counts). Only whole, well-formed replies are kept.
    """

    def __init__(self, settings: Any, endpoint: Endpoint, folder: Path) -> None:
        self.settings, self._endpoint, self._folder = settings, endpoint, folder
        self.counts: Counter[str] = Counter()
        self._lock, self._asking = threading.Lock(), defaultdict[str, threading.Lock](threading.Lock)
        self._counted: set[str] = set()
        self._failed_in_a_row = 0

    def ask(self, messages: Sequence[Message], schema: Mapping[str, Any], attempt: int) -> Mapping[str, Any]:
        """The first choice of the completion. attempt: 0 first; another one asks with another seed.

        Raises Unusable where this request has no usable reply, EndpointError where no request will have one.
        """
        request = self._request(messages, schema, attempt)
        identity = {"revision": self.settings.revision, "request": request}
        name = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        path = self._folder / name[:2] / f"{name}.json"
        with self._lock:
            asking = self._asking[name]
        with asking:  # the same question asked twice at once is sent once
            content = _read(path)
            kept = content is not None
            if content is None:
                content = self._fetch(request)
                path.parent.mkdir(parents=True, exist_ok=True)
                write_json(path, identity | {"reply": content})
            self._count(name, content, kept)
        choice: Mapping[str, Any] = content["choices"][0]
        return choice

    def _request(self, messages: Sequence[Message], schema: Mapping[str, Any], attempt: int) -> dict[str, Any]:
        settings = self.settings
        request = {
            "model": settings.model,
            "messages": list(messages),
            "temperature": settings.temperature,
            "top_p": settings.top_p,
            "max_tokens": settings.max_tokens,
            "seed": settings.seed + attempt,
        }
        if settings.structured:
            request["response_format"] = {"type": "json_schema", "json_schema": {"name": "reply", "strict": True, "schema": schema}}
        return request

    def _fetch(self, request: Mapping[str, Any]) -> dict[str, Any]:
        answer = self._endpoint.call("/chat/completions", request)
        self._watch(answer)
        if answer.status != 200:
            raise Unusable("no answer" if _failed(answer) else "refused", f"HTTP {answer.status}: {answer.text}")
        if not _complete(answer.content):
            raise Unusable("garbage", answer.text)
        content: dict[str, Any] = answer.content
        return content

    def _watch(self, answer: Answer) -> None:
        """Stop where the endpoint itself is at fault: what it refuses every pair must not end as a quarantine of all of them."""
        where = f"teacher.base_url={self.settings.base_url}"
        if answer.status in (401, 403):
            raise EndpointError(f"{where} refuses the key (HTTP {answer.status}, {answer.text}); teacher.key_variable names its variable")
        if answer.status == 404 or 300 <= answer.status < 400:
            raise EndpointError(f"{where} has no {self.settings.model!r} at /chat/completions (HTTP {answer.status}, {answer.text})")
        with self._lock:
            self._failed_in_a_row = self._failed_in_a_row + 1 if _failed(answer) else 0
            down = self._failed_in_a_row > max(2, self.settings.concurrency)
        if down:
            raise EndpointError(
                f"{where} fails: {self._failed_in_a_row} calls in a row, {self.settings.attempts} attempts each "
                f"({answer.status or 'no answer'}, {answer.text}). What it answered is kept; the same command goes on from there"
            )

    def _count(self, name: str, content: Mapping[str, Any], kept: bool) -> None:
        usage = content.get("usage")
        with self._lock:
            if name in self._counted:
                return
            self._counted.add(name)
            self.counts["calls"] += 1
            self.counts["kept"] += kept
            if isinstance(usage, Mapping) and all(isinstance(usage.get(side), int) for side in ("prompt_tokens", "completion_tokens")):
                self.counts["tokens_in"] += usage["prompt_tokens"]
                self.counts["tokens_out"] += usage["completion_tokens"]
            else:
                self.counts["uncounted"] += 1

    def report(self) -> dict[str, float]:
        """Counts, and what all replies cost, those kept from before included."""
        names = ("calls", "kept", "tokens_in", "tokens_out", "uncounted")
        numbers: dict[str, float] = {name: self.counts[name] for name in names}
        price = self.counts["tokens_in"] * self.settings.price_in + self.counts["tokens_out"] * self.settings.price_out
        return numbers | {"cost": price / 1e6}


def open_replies(settings: Any, shared: Path | None) -> Replies:
    """settings: `teacher`. shared: where stages keep what outlives them. Raises EndpointError where the key is not there."""
    assert shared is not None
    endpoint = Endpoint(
        settings.base_url, read_key(settings.key_variable), settings.timeout, settings.attempts, settings.backoff, settings.concurrency,
        settings.requests_per_minute,
    )  # fmt: skip
    return Replies(settings, endpoint, shared / "replies")


def _failed(answer: Answer) -> bool:
    """Whether every attempt failed for reasons that are not the request's."""
    return answer.status in (0, *RETRIED) or answer.status >= 500


def _complete(content: Any) -> bool:
    """Whether `content` is a chat completion with a text."""
    try:
        return isinstance(content["choices"][0]["message"]["content"], str) and isinstance(content["choices"][0]["finish_reason"], str)
    except (KeyError, IndexError, TypeError):
        return False


def _read(path: Path) -> dict[str, Any] | None:
    """A kept reply; None where there is none that can be read."""
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))["reply"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return content if _complete(content) else None
