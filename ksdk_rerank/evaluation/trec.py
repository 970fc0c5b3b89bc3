"""Collections in the field's own formats: TREC qrels and runs, BEIR folders."""

from __future__ import annotations

import math
import os
from collections.abc import Collection as Ids
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ksdk_rerank._arguments import integer
from ksdk_rerank.evaluation.lines import Line, lines_of
from ksdk_rerank.knowledgesdk.results import SearchHit

__all__ = ["Collection", "read_beir", "read_corpus", "read_qrels", "read_queries", "read_run"]

_QRELS = ("qrels.tsv", "qrels/test.tsv")


@dataclass(frozen=True, slots=True)
class Collection:
    """Queries, candidates and judgements, as `evaluate` takes them."""

    queries: Mapping[str, str]
    candidates: Mapping[str, tuple[SearchHit, ...]]
    judgements: Mapping[str, Mapping[str, int]]


def read_beir(
    folder: str | os.PathLike[str],
    run: str | os.PathLike[str],
    *,
    qrels: str | os.PathLike[str] | None = None,
    limit: int | None = None,
) -> Collection:
    """Read a folder in BEIR's layout, with the candidates of a TREC run.

    Args:
        folder: holds `corpus.jsonl` (`_id`, `title`, `text`), `queries.jsonl` (`_id`, `text`) and `qrels.tsv` or
            `qrels/test.tsv`.
        run: the first stage's candidates, a TREC run; only their texts are kept in memory.
        qrels: judgements from another file, BEIR's or TREC's.
        limit: candidates a query at most; None takes all.

    Files may be gzipped (`.gz`). Queries that are neither judged nor in the run are left out.

    Raises:
        ValueError: a line is malformed, or the run names a query or document that is nowhere; with file and line.
        OSError: a file cannot be read.
    """
    folder = Path(folder)
    judgements = read_qrels(qrels if qrels is not None else _existing(folder, *_QRELS))
    ranked = _ranked(run, limit)
    wanted = {hit.document for hits in ranked.values() for hit in hits}
    corpus = read_corpus(_existing(folder, "corpus.jsonl"), only=wanted)
    queries = read_queries(_existing(folder, "queries.jsonl"))
    used = {query: text for query, text in queries.items() if query in judgements or query in ranked}
    return Collection(used, _candidates(ranked, corpus, queries), judgements)


def read_qrels(path: str | os.PathLike[str]) -> dict[str, dict[str, int]]:
    """Read judgements as {query id: {document id: grade}}, from either of two formats.

    q1 0 d17 2                           TREC: query, iteration, document, grade, split at white space
    query-id<tab>corpus-id<tab>score     BEIR: this heading, then such lines
    q1<tab>d17<tab>2
    """
    judgements: dict[str, dict[str, int]] = {}
    for number, line in enumerate(lines_of(path)):
        columns = line.text.split("\t") if line.text.count("\t") == 2 else line.text.split()
        if number == 0 and [column.strip() for column in columns] == ["query-id", "corpus-id", "score"]:
            continue
        if len(columns) not in (3, 4):
            raise line.wrong(f"there are {len(columns)} columns; write query, 0, document, grade (or BEIR's three)")
        query, document = columns[0].strip(), columns[-2].strip()
        grade = line.integer(columns[-1].strip(), "the grade")
        known = judgements.setdefault(query, {})
        if known.setdefault(document, grade) != grade:
            raise line.wrong(f"{document!r} has another grade for {query!r} above, {known[document]}; keep one")
    if not judgements:
        raise ValueError(f"{path}: there is no judgement; write lines such as: q1 0 d17 1")
    return judgements


def read_queries(path: str | os.PathLike[str]) -> dict[str, str]:
    """Read `queries.jsonl`, lines such as {"_id": "q1", "text": "..."}, as {id: text}."""
    queries: dict[str, str] = {}
    for line in lines_of(path):
        id = line.text_in("_id", "id")
        if id in queries:
            raise line.wrong(f"the id {id!r} is there twice; keep one")
        queries[id] = line.text_in("text", "query", "question")
    return queries


def read_corpus(path: str | os.PathLike[str], *, only: Ids[str] | None = None) -> dict[str, SearchHit]:
    """Read `corpus.jsonl`, lines such as {"_id": "d1", "title": "...", "text": "..."}; `only` these ids, or all."""
    corpus: dict[str, SearchHit] = {}
    for line in lines_of(path):
        id = line.text_in("_id", "id")
        if only is not None and id not in only:
            continue
        if id in corpus:
            raise line.wrong(f"the id {id!r} is there twice; keep one")
        title, text, url = (line.fields.get(name) for name in ("title", "text", "url"))
        if not isinstance(text, str):  # a blank one is fine: public collections do hold empty documents
            raise line.wrong(f"'text' is {text!r}, not a text; correct it")
        corpus[id] = SearchHit(
            id, text, title if isinstance(title, str) and title else None, url if isinstance(url, str) else None
        )
    return corpus


def read_run(
    path: str | os.PathLike[str], corpus: Mapping[str, SearchHit], *, limit: int | None = None
) -> dict[str, tuple[SearchHit, ...]]:
    """Read the candidates of a TREC run, lines such as `q1 Q0 d17 1 12.5 bm25`, with the texts of `corpus`.

    Best first is by score, as in trec_eval, and by rank where scores are equal.
    """
    return _candidates(_ranked(path, limit), corpus, None)


@dataclass(frozen=True, slots=True)
class _Place:
    line: Line
    document: str
    rank: int
    score: float


def _ranked(path: str | os.PathLike[str], limit: int | None) -> dict[str, list[_Place]]:
    if limit is not None:
        limit = integer("limit", limit, or_none=True, advice="use None for all candidates")
    found: dict[str, dict[str, _Place]] = {}
    for line in lines_of(path):
        columns = line.text.split()
        if len(columns) != 6:
            raise line.wrong(f"there are {len(columns)} columns; write query, Q0, document, rank, score, tag")
        query, _, document, rank, score, _ = columns
        try:
            value = float(score)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise line.wrong(f"the score is {score!r}, not a finite number; correct it")
        places = found.setdefault(query, {})
        if document in places:
            raise line.wrong(f"{document!r} is there twice for {query!r}, first in line {places[document].line.number}")
        places[document] = _Place(line, document, line.integer(rank, "the rank"), value)
    if not found:
        raise ValueError(f"{path}: there is no candidate; write lines such as: q1 Q0 d17 1 12.5 bm25")
    return {
        query: sorted(places.values(), key=lambda place: (-place.score, place.rank))[:limit]
        for query, places in found.items()
    }


def _candidates(
    ranked: Mapping[str, list[_Place]], corpus: Mapping[str, SearchHit], queries: Ids[str] | None
) -> dict[str, tuple[SearchHit, ...]]:
    candidates = {}
    for query, places in ranked.items():
        if queries is not None and query not in queries:
            raise places[0].line.wrong(f"the query {query!r} is not among the queries; check that both belong together")
        hits = []
        for place in places:
            if place.document not in corpus:
                raise place.line.wrong(
                    f"the document {place.document!r} is not in the corpus; check that both belong together"
                )
            known = corpus[place.document]
            hits.append(SearchHit(known.id, known.text, known.title, known.source, place.score, known.metadata))
        candidates[query] = tuple(hits)
    return candidates


def _existing(folder: Path, *names: str) -> Path:
    for name in names:
        for path in (folder / name, folder / f"{name}.gz"):
            if path.exists():
                return path
    raise FileNotFoundError(f"{folder} has no {' or '.join(names)}; BEIR's layout is needed")
