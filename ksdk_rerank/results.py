"""`Ranking`: what a reranker returns, a sequence of `Ranked` documents, best first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import overload

from ksdk_rerank._arguments import flag, function_or_none, integer
from ksdk_rerank._text.words import estimated_tokens

__all__ = ["Failure", "Ranked", "Ranking", "fitting", "total_usage"]


@dataclass(frozen=True, slots=True)
class Ranked:
    """One document in a `Ranking`.

    Attributes:
        index: position in the input documents, from 0.
        document: the text at that position, unchanged.
        score: relevance in [0, 1]; higher is better. Comparable between queries of the same reranker. None if there is
            no score (a blank document, or `InputOrder`).
        raw_score: the model's own score (a logit, a probability, a BM25 sum), or None. Results are ordered by it.
        spans: the relevant passages, best first, as (start, end) in characters (code points) of `document`; empty if
            the document was read as a whole. They come from `Passages`, `LongDocuments` and
            `CohereReranker(relevant_spans=True)`.
    """

    index: int
    document: str
    score: float | None = None
    raw_score: float | None = None
    spans: tuple[tuple[int, int], ...] = ()

    @property
    def span(self) -> tuple[int, int] | None:
        """The best of `spans`, or None. `document[slice(*span)]` is the passage."""
        return self.spans[0] if self.spans else None

    def excerpt(self) -> str:
        """The passages as one text for a prompt, or the whole document if there are none.

        The passages are in document order, below their headings, with "…" for what is left out. If there are any, this
        needs `pip install "ksdk-rerank[passages]"`.
        """
        if not self.spans:
            return self.document
        from ksdk_rerank._text.excerpts import excerpt

        return excerpt(self.document, self.spans)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a `Fallback` moved on from a reranker.

    Attributes:
        reranker: the name of the reranker that failed.
        error: the class of its error, such as `"RateLimited"`.
        message: the error's message; it never contains a key.
        skipped: whether this call did not try the reranker because it is cooling down; the error is then the one that
            began the cool-down.
    """

    reranker: str
    error: str
    message: str
    skipped: bool = False


@dataclass(frozen=True, slots=True)
class Ranking(Sequence[Ranked]):
    """The documents of one call, best first: a sequence of `Ranked`, with details of the call.

    Attributes:
        results: the ranked documents, best first.
        reranked_by: the name of the reranker that produced this order.
        usage: the call's cost in the service's own units, such as `{"search_units": 1}` or `{"total_tokens": 812}`;
            empty if nothing is counted.
        truncated: how many documents were truncated to fit the model's window, so that only their beginning was read.
        failures: the rerankers that failed or were skipped before one answered; empty unless a `Fallback` moved on.
        duplicates: documents left out because they repeat another, as {index left out: index it repeats}; empty unless
            duplicates were removed.
        query_truncated: whether the query was truncated: to half of a local model's window, or to the most that a
            service accepts. Truncation by the service itself is not reported.
    """

    results: tuple[Ranked, ...]
    reranked_by: str
    usage: Mapping[str, float] = field(default_factory=dict)
    truncated: int = 0
    failures: tuple[Failure, ...] = ()
    duplicates: Mapping[int, int] = field(default_factory=dict)
    query_truncated: bool = False

    @property
    def indices(self) -> tuple[int, ...]:
        """Positions in the input, best first: `[documents[i] for i in ranking.indices]`."""
        return tuple(ranked.index for ranked in self.results)

    def within(
        self,
        max_tokens: int,
        *,
        count: Callable[[str], int] | None = None,
        passages: bool = False,
        skip_oversized: bool = False,
    ) -> Ranking:
        """The best documents that together fit into `max_tokens`, for a prompt with a token budget.

            encoding = tiktoken.get_encoding("o200k_base")
            ranking.within(2000, count=lambda text: len(encoding.encode(text)))

        Args:
            max_tokens: the budget in tokens, at least 1. It is never exceeded, so nothing is returned if the best
                document alone is longer.
            count: returns the number of tokens in a text. None estimates it, usually a little too high: one per four
                ASCII characters, one per two characters of scripts such as Cyrillic, one per character of scripts such
                as Chinese.
            passages: count `Ranked.excerpt()` instead of the whole document.
            skip_oversized: skip a document that does not fit, and try the next. By default, the first such document
                ends the list.
        """
        passages = flag("passages", passages)
        texts = (ranked.excerpt() if passages else ranked.document for ranked in self.results)
        places = fitting(texts, max_tokens, count, skip_oversized=skip_oversized)
        return replace(self, results=tuple(self.results[place] for place in places))

    def details(self) -> dict[str, object]:
        """Everything about the call except the documents, by attribute name, for logs and traces."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.name != "results"}

    @overload
    def __getitem__(self, position: int) -> Ranked: ...
    @overload
    def __getitem__(self, position: slice) -> tuple[Ranked, ...]: ...
    def __getitem__(self, position: int | slice) -> Ranked | tuple[Ranked, ...]:
        return self.results[position]

    def __len__(self) -> int:
        return len(self.results)

    def __iter__(self) -> Iterator[Ranked]:
        return iter(self.results)


def total_usage(usages: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """The total of several calls' `usage`: amounts in the same unit are added."""
    total: dict[str, float] = {}
    for usage in usages:
        for unit, amount in usage.items():
            total[unit] = total.get(unit, 0) + amount
    return total


def fitting(
    texts: Iterable[str],
    max_tokens: int,
    count: Callable[[str], int] | None = None,
    *,
    skip_oversized: bool = False,
) -> list[int]:
    """The positions of the `texts` that `Ranking.within` keeps. Texts after the last of them are not counted."""
    left = integer("max_tokens", max_tokens, unit="token")
    function_or_none("count", count, returns="the number of tokens in a text")
    skip_oversized = flag("skip_oversized", skip_oversized)
    kept = []
    for place, text in enumerate(texts):
        tokens = (count or estimated_tokens)(text)
        if tokens <= left:
            kept.append(place)
            left -= tokens
        elif not skip_oversized:
            break
    return kept
