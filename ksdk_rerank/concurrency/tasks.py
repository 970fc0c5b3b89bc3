"""`all_of`: several asynchronous calls at once."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

__all__ = ["all_of"]

T = TypeVar("T")


async def all_of(calls: Iterable[Coroutine[Any, Any, T]], *, at_once: int | None = None) -> list[T]:
    """The results of `calls`, in their order. None of them outlives this one: the first error cancels the others.

    At most `at_once` run at a time; None runs all of them.
    """
    calls = list(calls)
    turns = asyncio.Semaphore(len(calls) if at_once is None else at_once)

    async def in_turn(call: Coroutine[Any, Any, T]) -> T:
        async with turns:
            return await call

    tasks = [asyncio.ensure_future(in_turn(call)) for call in calls]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for call in calls:
            call.close()  # an unstarted one would warn that it was never awaited
