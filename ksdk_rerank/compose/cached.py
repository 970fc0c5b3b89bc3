"""`Cached`: remembers results, so that the same question about the same document is answered once."""

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
from ksdk_rerank.concurrency.worker import Worker
from ksdk_rerank.loading import load_reranker
from ksdk_rerank.results import Ranking

__all__ = ["Cached", "Store"]

_Wanted = dict[str, Sequence[str]]
_Found = dict[str, Ranking]

_worker = Worker("ksdk-rerank-cached")  # for stores: disk access must not block an event loop


class Cached(Wrapper):
    """Remembers the results of `reranker` and calls it only for what is missing.

    Args:
        reranker: the reranker to call, or its name.
        max_entries: maximum number of scored documents kept in memory; the least recently used are dropped. Each takes
            about half a kilobyte.
        ttl: seconds after which an entry expires; None keeps entries for good.
        store: a mapping to keep entries in, instead of memory. A `diskcache.Cache(folder)` outlives the process and can
            be shared by several; any other mapping works, too. The store limits its own size. A failed read counts as a
            miss, and a failed write is not kept. The first failure logs a warning with the error's class.

    If `reranker` is a leaf with `pointwise = True`, scores are cached per document. Only new documents go to the model,
    each distinct text once. Any other reranker, wrappers included, may look at all documents together, so whole
    rankings are cached. `LongDocuments(Cached(leaf))` therefore caches windows, and `Cached(LongDocuments(leaf))` whole
    rankings.

    Keys are BLAKE2 hashes of the reranker's class, name and parameters, this library's version, the query and the text.
    Entries are JSON: numbers and the reranker's name. So nobody can read a text in a store, but anyone who already has
    a text can tell that it was ranked. If a parameter is an object that cannot be written, such as your own client, the
    entries are private to this `Cached`. A model that changes under the same name goes unnoticed: pin a `revision`, or
    set a `ttl`.

    Concurrent calls for the same entries are single-flight: they share one call, between all threads for synchronous
    callers and on one event loop for asynchronous ones. If the shared call fails, each of the others makes its own,
    because the failure may lie in the first call's documents or deadline. If it is cancelled, one of the others takes
    over. Errors are not cached, and neither are rankings for which a `Fallback` moved on.

    `usage` covers only the calls made for this ranking, so it is empty if everything was cached. For a pointwise leaf,
    `truncated` counts only documents sent to the model this time. Everything else is as the reranker returned it.
    `close` clears the entries in memory and leaves the store open. Safe to share between threads and event loops.
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
        return {"reranker": self.reranker}  # where and how long entries are kept does not change a ranking

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
        """All of `wanted`: entries that were cached in the meantime, and the answer of one call for the rest."""
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
        """The cache keys needed for this call, each with the texts it covers: one text, or the whole list."""
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
        store = "" if self.store is None else f", store=<{type(self.store).__name__}>"  # its own repr may be long
        return f"Cached({self.reranker!r}, max_entries={self.max_entries}, ttl={self.ttl}{store})"
