"""Dynamic batching: pairs of concurrent requests go through the model together."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any


class QueueFull(RuntimeError):
    """More pairs wait than the queue may hold."""


@dataclass
class _Job:
    work: Sequence[Any]
    answer: asyncio.Future[list[Any]]


@dataclass
class Batcher:
    """One worker thread that answers batches. Use it as an async context manager, on one event loop.

    answer: called in the worker with a list, gives as many answers in its order. A batch closes at `most` pieces of work or `patience`
    seconds after its first. A request that gave up waiting is left out of the batch it would have been in.
    """

    answer: Callable[[list[Any]], Sequence[Any]]
    most: int
    patience: float  #: seconds
    capacity: int  #: pieces of work that may wait
    waiting: int = 0
    _jobs: deque[_Job] = field(default_factory=deque)

    async def __aenter__(self) -> Batcher:
        self._arrived = asyncio.Event()
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="llm")
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        self._executor.shutdown(wait=True, cancel_futures=True)

    async def ask(self, work: Sequence[Any]) -> list[Any]:
        """The answers. Raises QueueFull at once, and whatever `answer` raises."""
        if self.waiting + len(work) > self.capacity:
            raise QueueFull(f"{self.waiting} pairs wait for the LLM, the queue holds {self.capacity}")
        job = _Job(work, asyncio.get_running_loop().create_future())
        self._jobs.append(job)
        self.waiting += len(work)
        self._arrived.set()
        return await job.answer

    async def _run(self) -> None:
        while True:
            await self._arrived.wait()
            deadline = asyncio.get_running_loop().time() + self.patience
            while self.waiting < self.most and (left := deadline - asyncio.get_running_loop().time()) > 0:
                self._arrived.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._arrived.wait(), left)
            await self._answer(self._take())
            if self._jobs:
                self._arrived.set()
            else:
                self._arrived.clear()

    def _take(self) -> list[_Job]:
        """The jobs of the next batch: whole ones, the first whatever its size; those nobody waits for any more are dropped."""
        batch: list[_Job] = []
        while self._jobs and (not batch or sum(len(job.work) for job in batch) + len(self._jobs[0].work) <= self.most):
            job = self._jobs.popleft()
            self.waiting -= len(job.work)
            if not job.answer.done():
                batch.append(job)
        return batch

    async def _answer(self, batch: list[_Job]) -> None:
        if not batch:
            return
        work = [piece for job in batch for piece in job.work]
        try:
            answers = list(await asyncio.get_running_loop().run_in_executor(self._executor, self.answer, work))
        except Exception as error:
            for job in batch:
                if not job.answer.done():
                    job.answer.set_exception(error)
            return
        start = 0
        for job in batch:
            if not job.answer.done():
                job.answer.set_result(answers[start : start + len(job.work)])
            start += len(job.work)
