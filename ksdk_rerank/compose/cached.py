"""`Cached`: caches rankings, so that the same question about the same document is answered once."""

from __future__ import annotations

import asyncio
import math
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

from ksdk_rerank._arguments import integer, number
from ksdk_rerank._fingerprint import digest, digest_after, identity
from ksdk_rerank.base import Reranker, ScoringReranker
from ksdk_rerank.compose._cache_entries import Entries
from ksdk_rerank.compose._fail_open import Store
from ksdk_rerank.compose._single_flight import Outcome, SingleFlight
from ksdk_rerank.compose._wrapper import Wrapper
from ksdk_rerank.loading import load_reranker
from ksdk_rerank.results import Ranking, total_usage

__all__ = ["Cached", "Store"]

_Wanted = Mapping[str, Sequence[str]]


class Cached(Wrapper):
    """Caches the rankings of `reranker` and calls it only for what is missing.

    Args:
        reranker: the reranker to call, or its name.
        max_entries: maximum number of scored documents kept in memory; the least recently used are dropped. Each takes
            about half a kilobyte.
        ttl: seconds after which an entry expires; None keeps entries forever.
        store: a mapping to keep entries in, instead of memory. A `diskcache.Cache(folder)` outlives the process and can
            be shared by several; any other mapping works, too. The store limits its own size. A failed read counts as a
            miss, and a failed write is dropped. The first failure logs a warning with the error's class.

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
    `close` clears the entries in memory, and does not close the store.
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
        self.max_entries = integer("max_entries", max_entries, advice="to disable caching, leave Cached out")
        self.ttl = ttl = None if ttl is None else number("ttl", ttl)
        self.store = store
        if ttl is not None and not (math.isfinite(ttl) and ttl > 0):
            raise ValueError(
                f"ttl must be a positive, finite number of seconds, got {ttl!r}; use None to keep entries forever"
            )
        self._entries = Entries(self.max_entries, ttl, store)
        self._single_flight = SingleFlight()
        self._unknown = uuid.uuid4().hex

    @property
    def name(self) -> str:
        return f"cached({self.reranker.name})"

    def identifying_parameters(self) -> dict[str, object]:
        return {"reranker": self.reranker}  # where and how long entries are kept does not change a ranking

    def _rank(self, query: str, documents: Sequence[str]) -> Ranking:
        lookup = self._lookup(query, documents)
        lookup.found.update(self._entries.read(lookup.wanted))
        while missing := _without(lookup.wanted, lookup.found):
            with self._single_flight.claim(missing, alone=lookup.alone) as claim:
                claim.found.update(self._entries.read(claim.wanted))  # others may have cached some in the meantime
                if unknown := _without(claim.wanted, claim.found):
                    new = lookup.answered(unknown, self.reranker.rank(query, [*chain(*unknown.values())]))
                    self._entries.write(new)
                    claim.found.update(new)
            lookup.found.update(claim.found)
            for other in claim.others:
                lookup.join(other.result())
        return lookup.ranking(documents, self.reranker.name)

    async def _arank(self, query: str, documents: Sequence[str]) -> Ranking:
        lookup, loop = self._lookup(query, documents), asyncio.get_running_loop()
        lookup.found.update(await self._entries.aread(lookup.wanted))
        while missing := _without(lookup.wanted, lookup.found):
            with self._single_flight.claim(missing, loop, alone=lookup.alone) as claim:
                claim.found.update(await self._entries.aread(claim.wanted))
                if unknown := _without(claim.wanted, claim.found):
                    new = lookup.answered(unknown, await self.reranker.arank(query, [*chain(*unknown.values())]))
                    await self._entries.awrite(new)
                    claim.found.update(new)
            lookup.found.update(claim.found)
            for other in claim.others:
                lookup.join(await asyncio.wrap_future(other))
        return lookup.ranking(documents, self.reranker.name)

    def _lookup(self, query: str, documents: Sequence[str]) -> _Lookup:
        request = (identity(self.reranker, self._unknown), query)
        if isinstance(self.reranker, ScoringReranker) and self.reranker.pointwise:
            key = digest_after(*request, "text")
            return _Lookup({key(text): (text,) for text in documents}, pointwise=True)
        return _Lookup({digest(*request, "list", *documents): documents}, pointwise=False)

    def _release(self) -> None:
        self._entries.forget()

    def __repr__(self) -> str:
        store = "" if self.store is None else f", store=<{type(self.store).__name__}>"  # its own repr may be long
        return f"Cached({self.reranker!r}, max_entries={self.max_entries}, ttl={self.ttl}{store})"


@dataclass(slots=True)
class _Lookup:
    """What one call needs from the cache, and what it has found so far.

    Attributes:
        wanted: the cache keys, each with the texts it covers: one text, or the whole list.
        pointwise: whether each key covers one text.
        found: the rankings found so far, by key.
        calls: the rankings that the reranker returned to this call.
        alone: whether a call shared with others has failed; the rest is then not shared.
    """

    wanted: _Wanted
    pointwise: bool
    found: dict[str, Ranking] = field(default_factory=dict)
    calls: list[Ranking] = field(default_factory=list)
    alone: bool = False

    def answered(self, unknown: _Wanted, answer: Ranking) -> dict[str, Ranking]:
        """Record the reranker's `answer` about the texts of `unknown`, and divide it among their keys."""
        self.calls.append(answer)
        if not self.pointwise:
            return dict.fromkeys(unknown, replace(answer, usage={}))
        keys, shared = list(unknown), Ranking((), answer.reranked_by, query_truncated=answer.query_truncated)
        return {keys[one.index]: replace(shared, results=(replace(one, index=0),)) for one in answer}

    def join(self, outcome: Outcome) -> None:
        """Take over what another caller's call has found."""
        self.found.update(outcome or {})
        self.alone = self.alone or outcome is None

    def ranking(self, documents: Sequence[str], name: str) -> Ranking:
        """The ranking of `documents`, once everything is found."""
        usage = total_usage(call.usage for call in self.calls)
        if not self.pointwise:
            (known,) = self.found.values()
            return replace(known, usage=usage)
        of = {texts[0]: self.found[key][0] for key, texts in self.wanted.items()}
        results = [replace(of[text], index=index) for index, text in enumerate(documents)]
        return Ranking(
            tuple(sorted(results, key=lambda ranked: (-(ranked.raw_score or 0.0), ranked.index))),
            name,
            usage,
            sum(call.truncated for call in self.calls),
            query_truncated=any(ranking.query_truncated for ranking in self.found.values()),
        )


def _without(wanted: _Wanted, found: Mapping[str, Ranking]) -> dict[str, Sequence[str]]:
    return {key: texts for key, texts in wanted.items() if key not in found}
