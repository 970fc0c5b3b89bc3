"""Limits how many requests to one service are under way in this process, on all its threads and event loops."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterator
from concurrent.futures import Future
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from ksdk_rerank.concurrency.locks import Lock

__all__ = ["Slots", "slots_for"]


class Slots:
    """Counts the requests that are under way. Those above a limit wait, first come, first served."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._taken = 0
        self._waiting: deque[tuple[int, Future[None]]] = deque()

    @asynccontextmanager
    async def slot(self, limit: int) -> AsyncIterator[None]:
        """Wait until fewer than `limit` requests are under way, then count one more for the time of the block."""
        await self._take(limit)
        try:
            yield
        finally:
            self._give_back()

    async def _take(self, limit: int) -> None:
        turn: Future[None] = Future()  # unlike asyncio's own, any thread may complete it
        with self._lock:
            if self._taken < limit and not self._waiting:
                self._taken += 1
                return
            self._waiting.append((limit, turn))
        try:
            await asyncio.wrap_future(turn)
        except BaseException:
            if not turn.cancel():  # it was this request's turn at that very moment
                self._give_back()
            raise

    def _give_back(self) -> None:
        with self._lock:
            self._taken -= 1
        while turn := self._next():
            turn.set_result(None)

    def _next(self) -> Future[None] | None:
        """The request whose turn it is, counted as under way; None if there is none."""
        with self._lock:
            while self._waiting and self._taken < self._waiting[0][0]:
                _, turn = self._waiting.popleft()
                if turn.set_running_or_notify_cancel():  # otherwise it has stopped waiting
                    self._taken += 1
                    return turn
            return None


_slots: WeakValueDictionary[tuple[object, ...], Slots] = WeakValueDictionary()
_lock = Lock()


def slots_for(*service: object) -> Slots:
    """The slots of a `service`, the same for all that name it alike. A forked child has its own."""
    key = (os.getpid(), *service)
    with _lock:
        slots = _slots.get(key)
        if slots is None:
            slots = _slots[key] = Slots()
        return slots
