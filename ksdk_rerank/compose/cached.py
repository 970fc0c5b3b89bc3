"""`Cached`: the same question about the same document is asked once."""

from __future__ import annotations

import math
import uuid
from collections.abc import Sequence
from dataclasses import replace

from ksdk_rerank._arguments import integer, number
from ksdk_rerank._fingerprint import digest, digest_after, identity
from ksdk_rerank._version import __version__
from ksdk_rerank.base import Reranker, ScoringReranker
from ksdk_rerank.compose._entries import Entries, Store
from ksdk_rerank.compose._flights import BlockingCaller, Caller, Flights, LoopCaller, run_blocking
from ksdk_rerank.compose._wrapper import Wrapper, summed
from ksdk_rerank.loading import load_reranker
from ksdk_rerank.results import Ranking
from ksdk_rerank.worker import Worker

__all__ = ["Cached", "Store"]

_Wanted = dict[str, Sequence[str]]
_Found = dict[str, Ranking]

_worker = Worker("ksdk-rerank-cached")  # for stores: a disk must not hold up an event loop


class Cached(Wrapper):
    """Remembers what `reranker` said, and asks it only about the rest.

    Args:
        reranker: what is asked, or its name.
        max_entries: how many scored documents are remembered at most, the most recently used. One takes about half a
            kilobyte.
        ttl: after how many seconds an entry is asked for again; None is never.
        store: where entries are kept instead of in memory: a `diskcache.Cache(folder)` outlives the process and may be
            shared by several, any mapping will do. Its size is its own business. What it fails to read is asked for
            again, and what it fails to write is not kept: one warning names the error's class.

    Where the leaf says that it is `pointwise`, each document's score is remembered, and only documents that are new go
    to the model, each text once. All other rerankers, wrappers too, may look at all documents together, so whole lists
    are remembered; `LongDocuments(Cached(leaf))` remembers windows, `Cached(LongDocuments(leaf))` lists.

    Keys are BLAKE2 hashes over the reranker's class, name and parameters, this library's version, the query and the
    text, entries are JSON numbers: nobody can read a text in a store, though somebody who has the text can tell that
    it was ranked. Where a parameter is an object with no written form, such as a client of your own, the entries are
    for this `Cached` alone. A model that changes under its name is not noticed: pin a `revision`, or set a `ttl`.

    Those who ask the same at the same time share one call: synchronous callers in all threads, asynchronous ones on
    one event loop. If it fails, each of the others asks for itself, as the reason may lie in that call's documents or
    deadline; if it is cancelled, one of the others takes over. Errors, and rankings for which a `Fallback` had to move
    on, are not remembered.

    `usage` is that of the calls made for this ranking, so empty where all was known. `truncated` counts, for a
    pointwise leaf, only documents that were asked for now. All else is as the reranker gave it. `close` forgets what
    is in memory and leaves the store open. Safe to share between threads and event loops.
    """

    def __init__(
        self,
        reranker: str | Reranker,
        *,
        max_entries: int = 10_000,
        ttl: float | None = None,
        store: Store | None = None,
    ) -> None:
        self.reranker = load_reranker(reranker)
        self.max_entries = integer("max_entries", max_entries, advice="to remember nothing, leave it out")
        self.ttl = ttl = None if ttl is None else number("ttl", ttl)
        self.store = store
        if ttl is not None and not (math.isfinite(ttl) and ttl > 0):
            raise ValueError(f"ttl must be above 0 seconds, got {ttl!r}; None keeps entries for good")
        self._entries = Entries(self.max_entries, ttl, store)
        self._flights = Flights()
        self._unknown = uuid.uuid4().hex

    @property
    def name(self) -> str:
        return f"cached({self.reranker.name})"

    @property
    def _members(self) -> Sequence[Reranker]:
        return (self.reranker,)

    def identifying_parameters(self) -> dict[str, object]:
        return {"reranker": self.reranker}  # where and how long it remembers does not change a ranking

    def _rank(self, query: str, documents: Sequence[str]) -> Ranking:
        return run_blocking(self._answer(query, documents, BlockingCaller()))

    async def _arank(self, query: str, documents: Sequence[str]) -> Ranking:
        return await self._answer(query, documents, LoopCaller(_worker if self.store is not None else None))

    async def _answer(self, query: str, documents: Sequence[str], caller: Caller) -> Ranking:
        wanted = self._wanted(query, documents)
        found, calls, alone = await caller.touch(lambda: self._entries.read(wanted)), list[Ranking](), False
        while missing := [key for key in wanted if key not in found]:
            with self._flights.board(missing, caller.loop, alone=alone) as flight:
                flight.found.update(
                    await self._found_out(query, {key: wanted[key] for key in flight.keys}, caller, calls)
                )
            found.update(flight.found)
            for other in flight.others:
                result = await caller.wait(other)
                found.update(result or {})
                alone = alone or result is None
        return self._joined(documents, wanted, found, calls)

    async def _found_out(self, query: str, wanted: _Wanted, caller: Caller, calls: list[Ranking]) -> _Found:
        """All of `wanted`: what somebody else has found out by now, and the answer to a call about the rest."""
        found = await caller.touch(lambda: self._entries.read(wanted))
        if unknown := [key for key in wanted if key not in found]:
            answer = await caller.rank(self.reranker, query, [text for key in unknown for text in wanted[key]])
            calls.append(answer)
            new = {key: replace(answer, usage={}) for key in unknown}
            if self._pointwise:
                kept = Ranking((), answer.reranked_by, query_truncated=answer.query_truncated)
                new = {unknown[one.index]: replace(kept, results=(replace(one, index=0),)) for one in answer}
            if not answer.failures:
                await caller.touch(lambda: self._entries.write(new))
            found.update(new)
        return found

    @property
    def _pointwise(self) -> bool:
        return isinstance(self.reranker, ScoringReranker) and self.reranker.pointwise

    def _wanted(self, query: str, documents: Sequence[str]) -> _Wanted:
        """The keys of what must be known, and the texts that each is about: one, or the whole list."""
        asked = (__version__, identity(self.reranker, self._unknown), query)
        if self._pointwise:
            key = digest_after(*asked, "text")
            return {key(text): (text,) for text in documents}
        return {digest(*asked, "list", *documents): documents}

    def _joined(self, documents: Sequence[str], wanted: _Wanted, found: _Found, calls: Sequence[Ranking]) -> Ranking:
        if not self._pointwise:
            (known,) = found.values()
            return replace(known, usage=summed(calls))
        of = {texts[0]: found[key][0] for key, texts in wanted.items()}
        results = [replace(of[text], index=index) for index, text in enumerate(documents)]
        best_first = tuple(sorted(results, key=lambda ranked: (-(ranked.raw_score or 0.0), ranked.index)))
        return Ranking(
            best_first,
            self.reranker.name,
            summed(calls),
            sum(call.truncated for call in calls),
            query_truncated=any(ranking.query_truncated for ranking in found.values()),
        )

    def _release(self) -> None:
        self._entries.forget()

    def __repr__(self) -> str:
        store = "" if self.store is None else f", store=<{type(self.store).__name__}>"  # what it holds is long
        return f"Cached({self.reranker!r}, max_entries={self.max_entries}, ttl={self.ttl}{store})"
