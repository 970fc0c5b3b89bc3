"""Yields the event loop to other tasks when very many calls begin at once."""

from __future__ import annotations

import asyncio
import time
from weakref import WeakKeyDictionary

__all__ = ["pause_if_busy"]

_BUSY = 0.005  # maximum seconds of one iteration of the loop; benchmarks/http_overhead.py

_round_began: WeakKeyDictionary[asyncio.AbstractEventLoop, float] = WeakKeyDictionary()


async def pause_if_busy() -> None:
    """Wait for a later iteration of the event loop if the current one has taken 5 ms or more.

    In each iteration a loop runs everything that is ready, and admits nothing new until the end. Two hundred calls that
    begin together need a millisecond or two each to write their requests. Without this pause they would block all
    other tasks for all of that time.
    """
    loop = asyncio.get_running_loop()
    while True:
        began = _round_began.get(loop)
        if began is None:
            _round_began[loop] = time.monotonic()
            loop.call_soon(_round_began.pop, loop, None)
            return
        if time.monotonic() - began < _BUSY:
            return
        await asyncio.sleep(0)
