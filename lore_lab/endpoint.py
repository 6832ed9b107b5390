"""JSON over HTTP to a model server: paced, retried with growing pauses, shared by threads. The key never leaves the header it is for."""

from __future__ import annotations

import json
import os
import threading
import time
import urllib.request
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import urllib3

RETRIED = (408, 409, 425, 429, 500, 502, 503, 504)  #: statuses after which the same call may do better
LONGEST_PAUSE = 60.0  #: seconds between two attempts at most, whatever the server asks for


class EndpointError(RuntimeError):
    """The endpoint cannot be used as it is; the message says what would help."""


@dataclass(frozen=True)
class Answer:
    """status: HTTP's, 0 where no attempt was answered. content: the body as JSON, None where it is none. text: its first words, or the error."""

    status: int
    content: Any
    text: str


class Pace:
    """Starts at most `per_minute` calls a minute, evenly spaced."""

    def __init__(self, per_minute: float) -> None:
        self._interval, self._next, self._lock = 60.0 / per_minute, 0.0, threading.Lock()

    def wait(self) -> None:
        with self._lock:
            start = max(time.monotonic(), self._next)
            self._next = start + self._interval
        time.sleep(max(0.0, start - time.monotonic()))


def read_key(variable: str | None) -> str | None:
    """The key in an environment variable; None where none is asked for. Raises EndpointError when it is not set."""
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if not key or not key.isprintable():
        raise EndpointError(f"the environment variable {variable} holds no API key")
    return key


class Endpoint:
    """Calls below `base_url`. Safe to use from several threads."""

    def __init__(
        self, base_url: str, key: str | None, timeout: float, attempts: int, backoff: float, concurrency: int, per_minute: float
    ) -> None:
        """timeout: seconds without an answer. attempts: of one call. backoff: seconds before the second one, doubling."""
        self._url, self._key, self._pace = base_url.rstrip("/"), key, Pace(per_minute)
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        retries = urllib3.Retry(
            total=attempts - 1, redirect=False, status_forcelist=RETRIED, allowed_methods=None, raise_on_status=False,
            backoff_factor=backoff / 2, backoff_jitter=backoff / 2, backoff_max=LONGEST_PAUSE, retry_after_max=int(LONGEST_PAUSE),
        )  # fmt: skip
        options: dict[str, Any] = {"maxsize": concurrency, "block": True, "retries": retries, "timeout": urllib3.Timeout(timeout)}
        proxy = _proxy(self._url)
        self._pool = urllib3.ProxyManager(proxy, **options) if proxy else urllib3.PoolManager(**options)

    def call(self, path: str, payload: Any = None, method: str = "POST") -> Answer:
        """The last answer to `payload`, sent as JSON; never raises for what the network or the server does."""
        self._pace.wait()
        try:
            reply = self._pool.request(method, self._url + path, json=payload, headers=self._headers, redirect=False)
            body = reply.data.decode("utf-8", errors="replace")
        except urllib3.exceptions.HTTPError as error:
            return Answer(0, None, self._hide(f"{type(error).__name__}: {error}"))
        try:
            content = json.loads(body)
        except ValueError:
            content = None
        return Answer(reply.status, content, self._hide(body[:300]))

    def _hide(self, text: str) -> str:
        """Servers repeat a wrong key in their error."""
        return text.replace(self._key, "***") if self._key else text


def _proxy(url: str) -> str | None:
    """The environment's proxy for `url`."""
    parts = urlsplit(url)
    return None if urllib.request.proxy_bypass(parts.hostname or "") else urllib.request.getproxies().get(parts.scheme)
