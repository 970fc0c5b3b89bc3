"""`evaluate` compares each reranker with the first stage, on the same candidates. It returns an `Evaluation`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from itertools import islice

from ksdk_rerank._arguments import flag, function_or_none, integer, number, ordered
from ksdk_rerank._text.words import estimated_tokens
from ksdk_rerank.base import Reranker
from ksdk_rerank.compose._fail_open import FailOpenStore, Store
from ksdk_rerank.evaluation.bootstrap import intervals
from ksdk_rerank.evaluation.contenders import Given, Progress, labelled, loaded
from ksdk_rerank.evaluation.html_report import as_html
from ksdk_rerank.evaluation.ids import by_id, id_of
from ksdk_rerank.evaluation.json_report import as_json
from ksdk_rerank.evaluation.measurements import EvaluatedQuery, Measurements
from ksdk_rerank.evaluation.metrics import measure_for
from ksdk_rerank.evaluation.prompts import checked_keep_answers, checked_price
from ksdk_rerank.evaluation.qrels import Answers, Grades, Judged, QueryJudgements, judgements_by_id
from ksdk_rerank.evaluation.rows import RowBuilder
from ksdk_rerank.evaluation.tables import as_table
from ksdk_rerank.knowledgesdk.search_results import SearchHit, titled_text

__all__ = ["Evaluation", "evaluate"]

_MOST_EXAMPLES = 3  # ids from each side quoted in an error


def evaluate(
    rerankers: Sequence[str | Reranker] | Mapping[str, Given],
    queries: Mapping[str, str],
    candidates: Mapping[str, Sequence[SearchHit]],
    judgements: Grades | Answers,
    metrics: Sequence[str] = ("nDCG@10", "MRR@10", "P@1", "R@5"),
    *,
    titles: bool = True,
    store: Store | None = None,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    progress: Progress | None = None,
    keep_answers: float = 0.95,
    count_tokens: Callable[[str], int] | None = None,
    price: float | None = None,
) -> Evaluation:
    """Measure whether reranking helps: every reranker reorders the first stage's candidates.

    Args:
        rerankers: rerankers, or names for `load_reranker`. Pass a mapping to choose the labels yourself, such as
            `{"plain": ..., "strict": ...}` for two instructions; its values may also be configurations. Rerankers
            loaded here are closed afterwards; yours stay open.
        queries: the queries, as {id: text}.
        candidates: what the first stage found for each query, best first, as `KnowledgeSDKClient.search` returns it.
            A query that is missing here has no candidates and scores 0.
        judgements: what is relevant, in one of two forms. `{query id: {document id: grade}}` are TREC qrels.
            `{query id: [answer, ...]}` lists ids, pages or parts of addresses (see `answers_to`); each answer counts
            once, at the first section that matches it. Queries with nothing relevant are skipped and listed in the
            result's `skipped_queries`. Ids are compared as text, so 7 equals "7". Grades are whole numbers of any type.
        metrics: `ir-measures` names; tables and charts lead with the first one.
        titles: whether rerankers read a candidate's title, on a line above its text.
        store: a cache of rankings, such as a `DiskStore`. A cached ranking saves the call, and reports the original
            call's time. If the store fails, the log gets a warning and the reranker is called.
        confidence: the level of the confidence intervals, between 0 and 1.
        resamples: the number of bootstrap draws.
        seed: the bootstrap's seed. The same input and seed give the same numbers, except for times.
        progress: called after each query.
        keep_answers: the share of the answers in the whole list that the smallest prompt must keep, above 0 and at most
            1. It decides which `min_score` and `top_n` each row recommends.
        count_tokens: counts a document's tokens, such as `lambda text: len(encoding.encode(text))` with tiktoken. None
            estimates one token per four ASCII characters, per two Cyrillic, Greek or accented Latin ones, and per
            Chinese, Japanese or Korean one. The title counts if rerankers read it.
        price: the cost of a million input tokens of your language model, in any currency. The result then includes what
            shorter prompts save.

    Returns:
        One row for the first stage and one for each reranker. If a reranker fails on some queries, its row says why.
        Its metrics then cover the queries it answered, compared with the first stage on the same queries. A reranker is
        dropped after three errors in a row, or after one that would affect every query, such as a missing key.

    Raises:
        ValueError: an unknown query id, a blank query, a duplicate candidate, a grade that is not a whole number or
            needs more than 32 bits, nothing relevant at all, no judged document among the candidates, or an unknown
            metric or reranker. All of this is checked before the first call.
        MissingExtra: `pip install "ksdk-rerank[evaluate]"`.
    """
    confidence = number("confidence", confidence)
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1, got {confidence!r}")
    keep_answers, price = checked_keep_answers(keep_answers), checked_price(price)
    resamples, seed = integer("resamples", resamples), integer("seed", seed, at_least=0)
    titles = flag("titles", titles)
    metrics = metrics if isinstance(metrics, str) else tuple(ordered("metrics", metrics))
    function_or_none("progress", progress)
    function_or_none("count_tokens", count_tokens, returns="the number of tokens in a text")
    by_label = labelled(rerankers)
    store = FailOpenStore.around(store)
    queries, candidates = by_id(queries, "queries"), by_id(candidates, "candidates")
    known = judgements_by_id(judgements)
    _check(queries, candidates, known)
    skipped_queries = _skipped(queries, known)
    hits = {query: tuple(candidates.get(query, ())) for query in queries if query not in skipped_queries}
    judged = {query: QueryJudgements(found, known[query]) for query, found in hits.items()}
    _check_measurable(judged)
    documents = {query: [titled_text(hit) if titles else hit.text for hit in found] for query, found in hits.items()}
    builder = RowBuilder(
        judged=judged,
        tokens=_tokens(documents, count_tokens or estimated_tokens),
        measure=measure_for(metrics, judged),
        metrics=tuple(metrics),
        keep_answers=keep_answers,
        intervals=partial(intervals, confidence=confidence, resamples=resamples, seed=seed),
    )
    first_stage = builder.first_stage(hits)
    calls = [(queries[query], texts) for query, texts in documents.items()]
    with loaded(by_label) as contenders:
        rows = [builder.reranker(each.label, each.run(calls, store, progress), first_stage) for each in contenders]
    return Evaluation(
        metrics=tuple(metrics),
        queries=tuple(
            EvaluatedQuery(query, queries[query], hits[query], each.grades(), each.missed())
            for query, each in judged.items()
        ),
        first_stage=first_stage,
        rerankers=tuple(rows),
        skipped_queries=skipped_queries,
        confidence=confidence,
        keep_answers=keep_answers,
        price=price,
        tokens_estimated=count_tokens is None,
    )


@dataclass(frozen=True, slots=True)
class Evaluation(Measurements):
    """The first stage's order and each reranker's, measured on the same candidates.

    Attributes:
        metrics: the metrics' names, in the order given; tables and charts lead with the first one.
        queries: the queries that were measured, in the order given.
        first_stage: the row for the candidates in their original order.
        rerankers: one row per reranker, in the order given.
        skipped_queries: the queries that were skipped because no document is known to be relevant to them, and why.
        confidence: the level of the confidence intervals, such as 0.95.
        keep_answers: the share of the answers that the smallest prompts keep.
        price: what a million tokens cost, or None.
        tokens_estimated: whether tokens were estimated, because no `count_tokens` was passed.
    """

    def table(self) -> str:
        """The rows as a plain-text table for a fixed-width font."""
        return as_table(self)

    def to_json(self) -> str:
        """All numbers, and each query's order as document ids, in one JSON object. It contains no document texts.

        Keys are this class's attributes. Times are in seconds. The same input gives the same JSON, except for times.
        """
        return as_json(self)

    def to_html(self, *, title: str = "Is reranking helping?") -> str:
        """A report as one HTML page that works offline: charts, and how each candidate moved for each question.

        The page contains the first 2,000 characters of each document, so share it only with people who may read those.
        """
        return as_html(self, title)

    def _repr_html_(self) -> str:
        """The report, as a notebook shows it: in a frame, which keeps its styles and scripts to itself."""
        frame = 'title="Is reranking helping?" sandbox="allow-scripts" style="width: 100%; height: 48rem; border: 0"'
        return f'<iframe {frame} srcdoc="{escape(self.to_html())}"></iframe>'


def _check(
    queries: Mapping[str, str], candidates: Mapping[str, Sequence[SearchHit]], judgements: Mapping[str, Judged]
) -> None:
    """Reject input that cannot be right, before the first call."""
    for query, text in queries.items():
        if not text.strip():
            raise ValueError(f"the query {query!r} is blank; add its text or remove it")
    for given, name in ((candidates, "candidates"), (judgements, "judgements")):
        if unknown := [query for query in given if query not in queries]:
            more = f" (and {len(unknown) - 1} more)" if unknown[1:] else ""
            raise ValueError(
                f"{name}: the query {unknown[0]!r} is not among the queries{more}; use the {name} of these queries"
            )
    for query, hits in candidates.items():
        ids = [id_of(hit.id) for hit in ordered(f"candidates[{query!r}]", hits)]
        if repeated := [id for id, times in Counter(ids).items() if times > 1]:
            raise ValueError(f"the query {query!r} has the candidate {repeated[0]!r} twice; remove one")


def _skipped(queries: Mapping[str, str], judgements: Mapping[str, Judged]) -> dict[str, str]:
    reasons = {}
    for query in queries:
        judged = judgements.get(query)
        if not judged:
            reasons[query] = "not judged"
        elif isinstance(judged, Mapping) and max(judged.values()) <= 0:
            reasons[query] = "nothing is relevant"
    return reasons


def _check_measurable(judged: Mapping[str, QueryJudgements]) -> None:
    """Reject input in which no order of the candidates could be better than another."""
    if not judged:
        raise ValueError("nothing to measure: no query has a relevant document; check the ids in the judgements")
    if not any(each.candidates for each in judged.values()):
        raise ValueError("nothing to measure: no judged query has candidates; check the query ids of the candidates")
    if not any(each.has_a_candidate for each in judged.values()):
        raise ValueError(
            "nothing to measure: no judged document is among the candidates; the judgements name"
            f" {_examples(name for each in judged.values() for name in each.judged)}, and the candidates are"
            f" {_examples(name for each in judged.values() for name in each.candidates)};"
            " make both use the same names"
        )


def _examples(ids: Iterable[str]) -> str:
    """The first few of `ids`, for an error message."""
    first = list(islice(dict.fromkeys(ids), _MOST_EXAMPLES + 1))
    more = ", ..." if first[_MOST_EXAMPLES:] else ""
    return ", ".join(f"{id!r:.80}" for id in first[:_MOST_EXAMPLES]) + more


def _tokens(documents: Mapping[str, Sequence[str]], count: Callable[[str], int]) -> dict[str, list[int]]:
    """The tokens of each query's documents. `count` is called once for each distinct text."""
    counted: dict[str, int] = {}
    for text in dict.fromkeys(text for texts in documents.values() for text in texts):
        counted[text] = integer("the result of count_tokens", count(text), at_least=0, unit="tokens")
    return {query: [counted[text] for text in texts] for query, texts in documents.items()}
