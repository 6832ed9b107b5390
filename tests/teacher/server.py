"""An OpenAI-compatible server on loopback, in this process, with faults to order."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Plan = Callable[["Teacher", dict[str, Any]], "dict[str, Any] | None"]


class Teacher:
    """requests: every body received, in order. keys: the Authorization headers. plan: what to answer instead of a good reply; None: that."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.plan: Plan = lambda teacher, body: None
        self.lock = threading.Lock()

    def question(self, body: dict[str, Any]) -> str:
        return body["messages"][-1]["content"]


def good(body: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The reply the schema asks for, the grade as the question tells it."""
    properties = body["response_format"]["json_schema"]["schema"]["properties"]
    told = re.search(
        r"^A human expert graded this pair (\d)|^Somebody .* right grade is (\d)", body["messages"][-1]["content"], re.MULTILINE
    )
    content = {name: f"about {name.strip('()')} it fits" for name in properties}
    if "grade" in properties:
        content["grade"] = int(next(filter(None, told.groups()))) if told else 1  # type: ignore[assignment]
    return completion(json.dumps(content | changes))


def completion(text: str, finish: str = "stop") -> dict[str, Any]:
    usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
    return {"choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}], "usage": usage}


@contextmanager
def serving(teacher: Teacher) -> Iterator[str]:
    """The server's base URL, up to /v1. A plan may answer {"status": ..., "body": ..., "headers": ..., "sleep": ...}."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with teacher.lock:
                teacher.requests.append(body)
                teacher.keys.append(self.headers["Authorization"])
                answer = teacher.plan(teacher, body) or good(body)
            if "choices" in answer:
                answer = {"body": json.dumps(answer)}
            time.sleep(answer.get("sleep", 0))
            text = answer.get("body", "{}").encode()
            try:
                self.send_response(answer.get("status", 200))
                for name, value in answer.get("headers", {}).items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()
