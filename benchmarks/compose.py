"""How `keep` (`Cascade`), `k` (`Fusion`), `window` and `stride` (`LongDocuments`) affect quality and time.

    python benchmarks/compose.py --data FOLDER [--second NAME ...] [--queries N]

`FOLDER` holds the unpacked collections `scifact` and `squad-dev` in BEIR's layout. The questions are ones that defaults
may be tuned on: SciFact's train split, with BM25's 100 best documents as candidates, and SQuAD's dev questions with
their 50 fixed candidates. Questions without a relevant candidate are left out. Names are those that
`ksdk_rerank.load_reranker` accepts.

- keep: `Success@keep` is how often an order has a relevant document among its first `keep`. For the first stage, it is
  the upper limit for any second stage. With `--second`, each cascade is measured as well.
- k: the fusion of the first stage, the candidates' own order and every `--second`.
- window: each `--second` over windows of SciFact's abstracts. This needs a `--second`, because `LexicalReranker` reads
  documents of any length. Few abstracts are longer than a model's window; `long_documents.py` measures documents that
  are.

Needs `pip install "ksdk-rerank[evaluate]" bm25s`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import bm25s
from workload import table, write

from ksdk_rerank import Cascade, Fusion, InputOrder, LongDocuments, Reranker, load_reranker
from ksdk_rerank.evaluation import (
    Collection,
    EvaluatedReranker,
    evaluate,
    read_beir,
    read_corpus,
    read_qrels,
    read_queries,
)
from ksdk_rerank.knowledgesdk.search_results import titled_text

KEEPS = (5, 10, 20, 30, 50)
KS = (0, 1, 10, 30, 60, 100, 1000)
WINDOWS = ((None, None), (256, 128), (256, 256), (128, 64), (128, 128), (64, 32))


def squad_dev(folder: Path) -> Collection:
    return read_beir(folder, folder / "run.bm25.sample1000.top50.trec.gz")


def scifact_train(folder: Path) -> Collection:
    corpus = list(read_corpus(folder / "corpus.jsonl").values())
    queries = read_queries(folder / "queries.train.jsonl")
    best = best_by_bm25([titled_text(hit) for hit in corpus], list(queries.values()), 100)
    candidates = {query: tuple(corpus[place] for place in places) for query, places in zip(queries, best, strict=True)}
    return Collection(queries, candidates, read_qrels(folder / "qrels.train.tsv"))


def best_by_bm25(documents: Sequence[str], queries: Sequence[str], k: int) -> list[list[int]]:
    """Positions of the `k` best documents for each query, best first."""
    index = bm25s.BM25(method="lucene", k1=0.9, b=0.4)
    index.index(bm25s.tokenize(list(documents), show_progress=False), show_progress=False)
    found = index.retrieve(bm25s.tokenize(list(queries), show_progress=False), k=k, show_progress=False)
    return [[int(place) for place in places] for places in found.documents]


def sampled(collection: Collection, count: int) -> Collection:
    """About `count` of the questions that have a relevant candidate, evenly spaced."""
    queries = {
        query: text
        for query, text in collection.queries.items()
        if any(collection.judgements.get(query, {}).get(hit.id, 0) > 0 for hit in collection.candidates.get(query, ()))
    }
    ids = list(queries)[:: max(1, len(queries) // count)]
    return Collection(
        {query: queries[query] for query in ids},
        {query: collection.candidates[query] for query in ids},
        {query: collection.judgements[query] for query in ids},
    )


def measured(
    name: str, collection: Collection, first: Reranker, seconds: Sequence[Reranker]
) -> dict[str, dict[str, float]]:
    """Each order's metrics and seconds per question; printed as a table, too."""
    contenders: dict[str, Reranker] = {first.name: first}
    for second in seconds:
        for keep in (*KEEPS, 1000):
            contenders[f"Cascade keep={keep}, {second.name}"] = Cascade(first, second, keep=keep)
        for window, stride in WINDOWS if name.startswith("scifact") else ():
            windows = LongDocuments(Cascade(first, second, keep=50), window=window, stride=stride)
            contenders[f"LongDocuments {window=} {stride=}, {second.name}"] = windows
    for k in KS:
        contenders[f"Fusion k={k}"] = Fusion([InputOrder(), first, *seconds], k=k)
    metrics = ["MRR@10", *(f"Success@{keep}" for keep in KEEPS)]
    fields = collection.queries, collection.candidates, collection.judgements
    evaluation = evaluate(contenders, *fields, metrics, resamples=1)
    print(f"\n{name}: {len(collection.queries)} questions")
    found = {
        row.name: {name: round(each.value, 4) for name, each in row.metrics.items()} | {"s per query": _seconds(row)}
        for row in (evaluation.first_stage, *evaluation.rerankers)
    }
    table([["order", *metrics, "s per query"], *([order, *figures.values()] for order, figures in found.items())])
    return found


def _seconds(row: EvaluatedReranker) -> float:
    return round(fmean(each.seconds for each in row.queries.values()), 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with scifact/ and squad-dev/")
    parser.add_argument("--first", default="lexical", help="the cheap first stage")
    parser.add_argument("--second", nargs="*", default=[], metavar="NAME", help="expensive second stages")
    parser.add_argument("--queries", type=int, default=300, help="approximate number of questions per collection")
    arguments = parser.parse_args()
    first, seconds = load_reranker(arguments.first), [load_reranker(name) for name in arguments.second]
    found = {}
    for name, read in (("scifact train", scifact_train), ("squad-dev", squad_dev)):
        collection = sampled(read(arguments.data / name.split()[0]), arguments.queries)
        found[name] = measured(name, collection, first, seconds)
    write("compose", {"orders": found})


if __name__ == "__main__":
    main()
