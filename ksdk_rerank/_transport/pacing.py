"""Leaving the event loop to others when very many calls begin at the same moment."""

from __future__ import annotations

import asyncio
import time
from weakref import WeakKeyDictionary

__all__ = ["pause_if_busy"]

_BUSY = 0.005  # seconds of one round of the loop; benchmarks/http_overhead.py

_round_began: WeakKeyDictionary[asyncio.AbstractEventLoop, float] = WeakKeyDictionary()


async def pause_if_busy() -> None:
    """Wait for a later round of the event loop where this one has lasted long.

    A loop runs whatever is ready in one round, and lets nothing new in before its end. Two hundred calls that begin
    together need a millisecond or two each to write their request, so without this they would hold up everybody else
    for all of that time.
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
