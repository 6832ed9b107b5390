"""Requests that come together are answered together, each with its own answers; those nobody waits for cost nothing."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from lore_lab.deploy.batcher import Batcher, QueueFull


class Echo:
    """Answers after `gate` opens, and remembers the batches."""

    def __init__(self, open_from_the_start: bool = True) -> None:
        self.batches: list[list[Any]] = []
        self.gate = threading.Event()
        if open_from_the_start:
            self.gate.set()

    def __call__(self, work: list[Any]) -> list[str]:
        self.batches.append(work)
        assert self.gate.wait(10)
        if "bad" in work:
            raise RuntimeError("no")
        return [f"<{piece}>" for piece in work]


def test_concurrent_requests_share_batches_and_get_their_own_answers() -> None:
    echo = Echo()

    async def many() -> list[list[str]]:
        async with Batcher(echo, most=8, patience=0.2, capacity=100) as batcher:
            return await asyncio.gather(*(batcher.ask([number, -number]) for number in range(1, 13)))

    assert asyncio.run(many()) == [[f"<{number}>", f"<{-number}>"] for number in range(1, 13)]
    assert [len(batch) for batch in echo.batches] == [8, 8, 8]


def test_a_request_larger_than_a_batch_goes_by_itself() -> None:
    echo = Echo()

    async def ask() -> list[list[str]]:
        async with Batcher(echo, most=4, patience=0.0, capacity=100) as batcher:
            return await asyncio.gather(batcher.ask(list(range(10))), batcher.ask([11]))

    assert list(map(len, asyncio.run(ask()))) == [10, 1]
    assert list(map(len, echo.batches)) == [10, 1]


def test_a_lone_request_waits_no_longer_than_the_patience() -> None:
    async def ask() -> float:
        async with Batcher(Echo(), most=64, patience=0.05, capacity=100) as batcher:
            started = asyncio.get_running_loop().time()
            await batcher.ask(["a"])
            return asyncio.get_running_loop().time() - started

    assert asyncio.run(ask()) < 2


def test_a_full_queue_refuses_at_once_and_recovers() -> None:
    echo = Echo(open_from_the_start=False)

    async def ask() -> None:
        async with Batcher(echo, most=2, patience=0.0, capacity=4) as batcher:
            first = asyncio.create_task(batcher.ask(["a", "b"]))
            while not echo.batches:
                await asyncio.sleep(0.001)
            waiting = asyncio.create_task(batcher.ask(["c", "d", "e"]))
            await asyncio.sleep(0)
            with pytest.raises(QueueFull, match="3 pairs wait for the LLM, the queue holds 4"):
                await batcher.ask(["f", "g"])
            echo.gate.set()
            assert await first == ["<a>", "<b>"]
            assert await waiting == ["<c>", "<d>", "<e>"]
            assert batcher.waiting == 0

    asyncio.run(asyncio.wait_for(ask(), 10))


def test_who_gave_up_is_left_out_of_the_next_batch() -> None:
    echo = Echo(open_from_the_start=False)

    async def ask() -> None:
        async with Batcher(echo, most=1, patience=0.0, capacity=10) as batcher:
            first = asyncio.create_task(batcher.ask(["a"]))
            while not echo.batches:
                await asyncio.sleep(0.001)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(batcher.ask(["impatient"]), 0.02)
            last = asyncio.create_task(batcher.ask(["b"]))
            await asyncio.sleep(0)
            echo.gate.set()
            assert await first == ["<a>"]
            assert await last == ["<b>"]

    asyncio.run(asyncio.wait_for(ask(), 10))
    assert echo.batches == [["a"], ["b"]]


def test_a_batch_that_fails_fails_its_requests_and_no_others() -> None:
    echo = Echo()

    async def ask() -> list[Any]:
        async with Batcher(echo, most=1, patience=0.0, capacity=10) as batcher:
            return await asyncio.gather(*(batcher.ask([own]) for own in ("a", "bad", "b")), return_exceptions=True)

    first, failed, last = asyncio.run(ask())
    assert (first, last) == (["<a>"], ["<b>"])
    assert isinstance(failed, RuntimeError)
