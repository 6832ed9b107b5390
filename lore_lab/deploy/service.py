"""The router as an HTTP service. What comes in is bounded before it is parsed, checked before it is queued, and neutralised by the renderer."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from pydantic import BaseModel, ConfigDict, Field, create_model

from lore_lab.data.example import Example
from lore_lab.deploy.batcher import Batcher, QueueFull
from lore_lab.deploy.cache import OUTCOMES
from lore_lab.deploy.router import Routed, Router, Tier
from lore_lab.prompts.render import PromptTooLong

ItemField = Literal["title", "brand", "category", "attributes", "description", "caption", "reviews", "shop", "price"]
QueryField = Literal["knowledge"]
#: seconds; from a cache hit to a long queue
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True)
class Limits:
    """What a request may be, and how long it may take. All of ours: assumed."""

    pairs: int = 64  #: of one request
    characters: int = 4000  #: of one field
    body: int = 1_000_000  #: bytes
    seconds: float = 10.0  #: until a request that waits for the LLM is answered 503, or one whose body does not come 408
    batch: int = 64  #: pairs in one batch for the LLM
    patience: float = 0.005  #: seconds a batch waits for company
    queue: int = 1024  #: pairs that may wait for the LLM


@dataclass(frozen=True)
class Service:
    """What is served. judge: for each pair its label probabilities (grades,), None without a valid answer, or PromptTooLong in their
    place; called in one worker thread. grades: names from worst to best."""

    router: Router
    judge: Callable[[list[Example]], Sequence[Any]]
    grades: Sequence[str]
    relevant_from: int
    version: str


class Answer(BaseModel):
    grade: int | None = Field(description="1 (worst) to the number of grades; null where the LLM gave no valid answer")
    label: str | None = Field(description="the grade's name")
    relevant: bool | None = Field(description="whether the grade is one of the relevant ones")
    score: float | None = Field(description="expected grade, to rank by: higher is better")
    probabilities: list[float] | None = Field(description="of the grades, from worst to best")
    tier: Literal["cache", "ranker", "llm"] = Field(description="who answered")


class Answers(BaseModel):
    answers: list[Answer] = Field(description="one a pair, in the request's order")
    version: str = Field(description="of the policy, its prompt and its source")


def _request_model(limits: Limits) -> type[BaseModel]:
    """The body of POST /relevance, with the limits in its schema."""
    closed = ConfigDict(extra="forbid", strict=True)
    text = Annotated[str, Field(max_length=limits.characters)]
    pair = create_model(
        "Pair",
        __config__=closed,
        query=(Annotated[str, Field(min_length=1, max_length=limits.characters)], ...),
        item=(dict[ItemField, text], Field(description="visible fields of the item")),
        query_fields=(dict[QueryField, text], Field(default_factory=dict, description="further text on the query")),
    )
    pairs: Any = Annotated[list[pair], Field(min_length=1, max_length=limits.pairs)]  # type: ignore[valid-type]
    return create_model("Pairs", __config__=closed, pairs=(pairs, ...))


class _Numbers:
    """What /metrics shows, in a registry of this service's own."""

    def __init__(self, service: Service, batcher: Batcher) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("relevance_requests", "requests by status code", ["status"], registry=self.registry)
        self.errors = Counter("relevance_errors", "requests answered 4xx or 5xx", registry=self.registry)
        self.pairs = Counter("relevance_pairs", "pairs by the tier that answered", ["tier"], registry=self.registry)
        self.seconds = Histogram(
            "relevance_latency_seconds", "seconds from request to answer", registry=self.registry, buckets=_BUCKETS
        )  # fmt: skip
        for tier in Tier:
            self.pairs.labels(tier.name.lower())
        waiting = Gauge("relevance_queue_pairs", "pairs that wait for the LLM", registry=self.registry)
        waiting.set_function(lambda: batcher.waiting)
        lookups = Gauge("relevance_cache_lookups", "cache lookups by outcome", ["outcome"], registry=self.registry)
        for outcome in OUTCOMES:
            lookups.labels(outcome).set_function(lambda outcome=outcome: service.router.cache.counts[outcome])  # type: ignore[misc]


class _Bounded:
    """ASGI middleware of POST /relevance: counts requests and their time, refuses bodies over the limit (413) and those that do not come (408)."""

    def __init__(self, app: Any, limits: Limits, numbers: _Numbers) -> None:
        self.app, self.limits, self.numbers = app, limits, numbers

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["path"] != "/relevance":
            await self.app(scope, receive, send)
            return
        started, status, size = time.perf_counter(), 500, 0

        async def noting(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        async def bounded() -> Any:
            nonlocal size
            try:
                message = await asyncio.wait_for(receive(), self.limits.seconds)
            except TimeoutError:
                raise HTTPException(408, f"the body did not come within {self.limits.seconds:g} seconds") from None
            size += len(message.get("body", b""))
            if size > self.limits.body:
                raise HTTPException(413, f"the body has more than {self.limits.body} bytes")
            return message

        try:
            await self.app(scope, bounded, noting)
        finally:
            self.numbers.requests.labels(str(status)).inc()
            self.numbers.errors.inc(status >= 400)
            self.numbers.seconds.observe(time.perf_counter() - started)


def make_app(service: Service, limits: Limits | None = None) -> FastAPI:
    """The application; its LLM worker lives as long as its lifespan."""
    limits = limits or Limits()
    batcher = Batcher(service.judge, limits.batch, limits.patience, limits.queue)
    numbers = _Numbers(service, batcher)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with batcher:
            yield

    app = FastAPI(title="lore_lab relevance", description=f"Grades: {', '.join(service.grades)}.", lifespan=lifespan)
    app.add_middleware(_Bounded, limits=limits, numbers=numbers)
    app.add_exception_handler(RequestValidationError, _explain)

    codes = {408: "the body did not come", 413: "the body is too large", 422: "a field is wrong", 503: "queue full, or no answer in time"}
    responses: dict[int | str, dict[str, Any]] = {code: {"description": text} for code, text in codes.items()}
    Body = _request_model(limits)

    @app.post("/relevance", responses=responses, summary="Grade (query, item) pairs")
    async def relevance(request: Body) -> Answers:  # type: ignore[valid-type]
        examples = [_example(place, pair) for place, pair in enumerate(request.pairs)]  # type: ignore[attr-defined]
        routed = await asyncio.to_thread(service.router.route, examples)
        open_places = [place for place, answer in enumerate(routed) if answer.tier == Tier.LLM]
        found: list[Any] = []
        if open_places:
            try:
                found = await asyncio.wait_for(batcher.ask([examples[place] for place in open_places]), limits.seconds)
            except QueueFull as error:
                raise HTTPException(503, str(error), {"Retry-After": "1"}) from None
            except TimeoutError:
                raise HTTPException(503, f"the LLM did not answer within {limits.seconds:g} seconds", {"Retry-After": "1"}) from None
        for place, answer in zip(open_places, found, strict=True):
            if isinstance(answer, PromptTooLong):
                raise HTTPException(422, f"pairs.{place}: {answer}")
            routed[place] = routed[place]._replace(probabilities=answer)
        for answer in routed:
            numbers.pairs.labels(answer.tier.name.lower()).inc()
        return Answers(answers=[_answer(service, answer) for answer in routed], version=service.version)

    @app.get("/health", summary="Whether the service can answer")
    async def health() -> Mapping[str, Any]:
        cache = {outcome: service.router.cache.counts[outcome] for outcome in OUTCOMES}
        thresholds = {"hot_from": service.router.thresholds.hot_from, "medium_from": service.router.thresholds.medium_from}
        return {"status": "ok", "version": service.version, "thresholds": thresholds, "cache_lookups": cache, "waiting": batcher.waiting}

    @app.get("/metrics", summary="Prometheus text")
    async def metrics() -> Response:
        return Response(generate_latest(numbers.registry), media_type=CONTENT_TYPE_LATEST)

    return app


async def _explain(request: Request, error: Any) -> Response:
    """What is wrong and where, without repeating what was sent: it is not ours to print."""
    detail = [{"where": ".".join(str(part) for part in own["loc"])[:200], "problem": own["msg"]} for own in error.errors()]
    return Response(json.dumps({"detail": detail[:20]}), 422, media_type="application/json")


def _example(place: int, pair: Any) -> Example:
    return Example(
        id=f"pairs.{place}", query_id="", item_id="", query=pair.query, item=pair.item, label=0, gold=0, difficulty=float("nan"),
        query_fields=pair.query_fields,
    )  # fmt: skip


def _answer(service: Service, routed: Routed) -> Answer:
    tier: Any = routed.tier.name.lower()
    if routed.probabilities is None:
        return Answer(grade=None, label=None, relevant=None, score=None, probabilities=None, tier=tier)
    probabilities = np.asarray(routed.probabilities, dtype=float)
    grade = int(probabilities.argmax())
    score = float(probabilities @ np.arange(len(probabilities)))
    return Answer(
        grade=grade + 1, label=service.grades[grade], relevant=grade >= service.relevant_from, score=score,
        probabilities=probabilities.tolist(), tier=tier,
    )  # fmt: skip
