"""`Passages`: finds the sentences that answer the query in the documents that a reranker returns.

Extractive compression, as in Xu, Shi and Choi, "RECOMP: Improving Retrieval-Augmented LMs with Context Compression and
Selective Augmentation" (ICLR 2024, https://openreview.net/forum?id=mlJLVigNHp): each sentence is scored against the
query, and the best are kept in document order. But: the reranker itself scores them, so nothing needs to be trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ksdk_rerank._arguments import integer, text
from ksdk_rerank._text.passages import Span, merged, passages_of
from ksdk_rerank.base import Reranker, with_members
from ksdk_rerank.compose._wrapper import Wrapper
from ksdk_rerank.concurrency.worker import Worker
from ksdk_rerank.loading import load_reranker
from ksdk_rerank.results import Ranked, Ranking, fitting, total_usage

__all__ = ["Passages", "finding_passages"]

_READ = 32_768
"""Characters of a document to search for passages, from its beginning: about 8,000 tokens of English, as much as
rerankers with a long window read (https://huggingface.co/BAAI/bge-reranker-v2-m3, read 2026-11-26). It keeps one huge
document from taking minutes or a hosted model's whole budget."""

_worker = Worker("ksdk-rerank-passages")


class Passages(Wrapper):
    r"""Ranks with `reranker`, then finds the relevant passages in the returned documents.

        hits = Passages("embedded").rank(question, documents, top_n=5)
        prompt = "\n\n".join(hit.excerpt() for hit in hits)

    Args:
        reranker: the reranker, or its name.
        max_tokens_per_document: keep the best passages of each document until the next would exceed this many tokens,
            estimated as in `Ranking.within`. The best one is always kept. With 150, 91 % of WikiQA's questions keep
            their answer in 38 % of the tokens (`benchmarks/passages.py`, 2026-11-28).
        language: the language of the documents as an ISO 639 code, so that its abbreviations do not end a sentence. The
            full stops of all scripts are always recognised.

    A passage is a sentence, or a Markdown block that makes no sense in parts: a code block, a table row, or a list item
    with everything in it. It is scored together with the headings above it and the header of its table. The passages of
    all returned documents go to `reranker` in one call after the ranking, so the cost depends on `top_n`. Inside
    another wrapper, `top_n` is not known yet, so put `Passages` outermost, as in `Passages(Cached(leaf))`.

    The order and all scores are the reranker's own. Only `Ranked.spans` is added, best passage first;
    `Ranked.excerpt()` is the shortened text. There are no spans if a document consists of a single passage, or if the
    reranker gives no scores, as `InputOrder`. If the reranker sets spans itself, as `LongDocuments` does, only the text
    in these spans is split. In other documents, only the first 32,768 characters are.

    `usage` and `failures` combine both calls. `truncated` is that of the ranking. Asynchronous calls split on a
    separate thread. Needs `pip install "ksdk-rerank[passages]"`.
    """

    finds_passages = True

    def __init__(
        self,
        reranker: str | Reranker,
        *,
        max_tokens_per_document: int = 150,
        language: str = "en",
    ) -> None:
        self.reranker = load_reranker(reranker)
        self.max_tokens_per_document = integer("max_tokens_per_document", max_tokens_per_document, unit="token")
        self.language = text("language", language)

    @property
    def name(self) -> str:
        return f"passages({self.reranker.name})"

    def _rank(self, query: str, documents: Sequence[str]) -> Ranking:
        return self._named(self.reranker.rank(query, documents))

    async def _arank(self, query: str, documents: Sequence[str]) -> Ranking:
        return self._named(await self.reranker.arank(query, documents))

    def _located(self, query: str, ranking: Ranking) -> Ranking:
        split = self._split(ranking)
        return self._with_spans(ranking, split, self.reranker.rank(query, [part.text for part in split]))

    async def _alocated(self, query: str, ranking: Ranking) -> Ranking:
        split = await _worker.arun(lambda: self._split(ranking))
        return self._with_spans(ranking, split, await self.reranker.arank(query, [part.text for part in split]))

    def _named(self, ranking: Ranking) -> Ranking:
        return replace(ranking, reranked_by=f"passages({ranking.reranked_by})")

    def _split(self, ranking: Ranking) -> list[_Part]:
        """The passages to score; none of documents that have only one."""
        parts: list[_Part] = []
        for place, ranked in enumerate(ranking):
            found = [_Part(place, text, span) for text, span in self._passages(ranked)]
            parts += found if len(found) > 1 else []
        return parts

    def _passages(self, ranked: Ranked) -> list[tuple[str, Span]]:
        """The passages of one document: each with its context as one text, and its span in the document."""
        text = ranked.document
        parts = merged(ranked.spans) or [(0, min(len(text), _READ))]
        found = [passage for part in parts for passage in passages_of(text, self.language, part)]
        return [(passage.text_in(text), passage.span) for passage in found]

    def _with_spans(self, ranking: Ranking, split: Sequence[_Part], scored: Ranking) -> Ranking:
        results = list(ranking)
        if any(part.score is not None for part in scored):
            order = {part.index: position for position, part in enumerate(scored)}
            order |= {copy: order[kept] for copy, kept in scored.duplicates.items()}
            own: dict[int, list[Span]] = {}
            for number in sorted(order, key=lambda number: (order[number], number)):
                own.setdefault(split[number].place, []).append(split[number].span)
            for place, best_first in own.items():
                results[place] = replace(results[place], spans=self._kept(results[place].document, best_first))
        return replace(
            ranking,
            results=tuple(results),
            usage=total_usage((ranking.usage, scored.usage)),
            failures=(*ranking.failures, *scored.failures),
        )

    def _kept(self, document: str, best_first: Sequence[Span]) -> tuple[Span, ...]:
        texts = (document[start:end] for start, end in best_first)
        return tuple(best_first[: max(1, len(fitting(texts, self.max_tokens_per_document)))])


@dataclass(frozen=True, slots=True)
class _Part:
    """A passage to score: the place of its document in the ranking, the text to read, and its span."""

    place: int
    text: str
    span: Span


def finding_passages(reranker: Reranker) -> Reranker:
    """`reranker` itself if it or a member sets `Ranked.spans` for all documents, else `Passages(reranker)`."""
    return reranker if any(each.finds_passages for each in with_members(reranker)) else Passages(reranker)
