"""Single flight: concurrent callers who need the same keys share one call, synchronous or asynchronous."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field

from ksdk_rerank.concurrency.locks import Lock
from ksdk_rerank.results import Ranking

__all__ = ["Claim", "Outcome", "SingleFlight"]

Outcome = dict[str, Ranking] | None
"""The rankings that another caller's call found, by key: empty if it was cancelled, None if it failed."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One caller's share of what is missing.

    Attributes:
        wanted: the keys that this caller computes, each with the texts it covers.
        found: its results so far; the other callers get them when the claim ends.
        others: the outcomes of calls in progress that compute the rest.
    """

    wanted: dict[str, Sequence[str]] = field(default_factory=dict)
    found: dict[str, Ranking] = field(default_factory=dict)
    others: list[Future[Outcome]] = field(default_factory=list)


class SingleFlight:
    """Tracks which caller is computing which key.

    Nobody waits for a call that may never finish. A caller waits only for synchronous calls, which have a thread, and
    for calls on its own event loop. Another loop may have stopped, or be the one that the caller is blocking.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._open: dict[tuple[str, asyncio.AbstractEventLoop | None], Future[Outcome]] = {}
        self._pid = os.getpid()

    @contextmanager
    def claim(
        self, missing: Mapping[str, Sequence[str]], loop: asyncio.AbstractEventLoop | None = None, *, alone: bool
    ) -> Iterator[Claim]:
        """Claim the keys that nobody else is computing, or all if `alone`. The end of the block releases them."""
        future: Future[Outcome] = Future()
        future.set_running_or_notify_cancel()  # so that one waiting caller cannot cancel it for the others
        claim = Claim()
        with self._lock:
            if self._pid != os.getpid():  # a forked child has none of its parent's threads
                self._open.clear()
                self._pid = os.getpid()
            for key, texts in missing.items():
                other = self._open.get((key, loop)) or self._open.get((key, None))
                if other is None or alone:
                    claim.wanted[key] = texts
                    self._open.setdefault((key, loop), future)
                elif other not in claim.others:
                    claim.others.append(other)
        outcome: Outcome = {}
        try:
            yield claim
            outcome = claim.found
        except Exception:
            outcome = None
            raise
        finally:
            with self._lock:
                for key in claim.wanted:
                    if self._open.get((key, loop)) is future:
                        del self._open[key, loop]
            future.set_result(outcome)
