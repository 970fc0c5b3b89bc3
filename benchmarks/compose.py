"""How `keep` (`Cascade`), `k` (`Fusion`), `window` and `stride` (`LongDocuments`) affect quality and time.

    python benchmarks/compose.py --data FOLDER [--second NAME ...] [--queries N]

`FOLDER` holds the unpacked collections `scifact` and `squad-dev` in BEIR's layout. The questions are ones that defaults
may be tuned on: SciFact's train split, with BM25's 100 best documents as candidates, and SQuAD's dev questions with
their 50 fixed candidates. Names are those that `ksdk_rerank.load_reranker` accepts.

- keep: how often the first stage ranks a judged document among its top `keep`, the upper limit for any second stage.
  With `--second`, also MRR@10 and seconds per query of each cascade.
- k: MRR@10 for the fusion of the first stage, the candidates' own order and every `--second`.
- window: MRR@10 for each `--second` over windows of SciFact's abstracts. This needs a `--second`, because
  `LexicalReranker` reads documents of any length. Few abstracts are longer than a model's window; `long_documents.py`
  measures documents that are.

Needs `pip install bm25s`.
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import bm25s

from ksdk_rerank import InputOrder, Reranker, load_reranker
from ksdk_rerank.compose.cascade import Cascade
from ksdk_rerank.compose.fusion import Fusion
from ksdk_rerank.compose.long_documents import LongDocuments

KEEPS = (5, 10, 20, 30, 50)
KS = (0, 1, 10, 30, 60, 100, 1000)
WINDOWS = ((None, None), (256, 128), (256, 256), (128, 64), (128, 128), (64, 32))


@dataclass(frozen=True)
class Question:
    """A query, its candidates in first-stage order, and which of them are judged relevant."""

    query: str
    candidates: list[str]
    relevant: set[int]


def squad_dev(folder: Path) -> list[Question]:
    with gzip.open(folder / "run.bm25.sample1000.top50.trec.gz", "rt") as file:
        run = defaultdict(list)
        for line in file:
            query, _, document, *_ = line.split()
            run[query].append(document)
    return list(_questions(folder, "queries.jsonl", "qrels.tsv", run))


def scifact_train(folder: Path) -> list[Question]:
    corpus = [(one["_id"], _text(one)) for one in jsonl(folder / "corpus.jsonl")]
    queries = [(one["_id"], one["text"]) for one in jsonl(folder / "queries.train.jsonl")]
    best = best_by_bm25([text for _, text in corpus], [text for _, text in queries], 100)
    run = {query: [corpus[place][0] for place in places] for (query, _), places in zip(queries, best, strict=True)}
    return list(_questions(folder, "queries.train.jsonl", "qrels.train.tsv", run))


def best_by_bm25(documents: Sequence[str], queries: Sequence[str], k: int) -> list[list[int]]:
    """Positions of the `k` best documents for each query, best first."""
    index = bm25s.BM25(method="lucene", k1=0.9, b=0.4)
    index.index(bm25s.tokenize(list(documents), show_progress=False), show_progress=False)
    found = index.retrieve(bm25s.tokenize(list(queries), show_progress=False), k=k, show_progress=False)
    return [[int(place) for place in places] for places in found.documents]


def _questions(folder: Path, queries: str, judgements: str, run: dict[str, list[str]]) -> Iterator[Question]:
    texts = {one["_id"]: _text(one) for one in jsonl(folder / "corpus.jsonl")}
    relevant = defaultdict(set)
    for line in (folder / judgements).read_text().splitlines()[1:]:
        query, document, grade = line.split("\t")
        if int(grade) > 0:
            relevant[query].add(document)
    for one in jsonl(folder / queries):
        shown = run.get(one["_id"], [])
        places = {place for place, document in enumerate(shown) if document in relevant[one["_id"]]}
        if places:  # no reranker can find what is not among the candidates
            yield Question(one["text"], [texts[document] for document in shown], places)


def jsonl(path: Path) -> Iterator[dict[str, str]]:
    with path.open() as file:
        yield from map(json.loads, file)


def _text(one: dict[str, str]) -> str:
    return f"{one.get('title') or ''} {one['text']}".strip()


def measured(reranker: Reranker, questions: Sequence[Question]) -> str:
    """MRR@10 and seconds per query, as text."""
    started = time.perf_counter()
    total = 0.0
    for question in questions:
        indices = reranker.rank(question.query, question.candidates, top_n=10).indices
        total += next((1 / rank for rank, index in enumerate(indices, 1) if index in question.relevant), 0.0)
    seconds = (time.perf_counter() - started) / len(questions)
    return f"MRR@10 {total / len(questions):.4f}, {seconds:.3f} s a query, {reranker.name}"


def kept(reranker: Reranker, questions: Sequence[Question]) -> str:
    """For each of `KEEPS`, the share of questions with a relevant document in the top `keep`, as text."""
    orders = [reranker.rank(question.query, question.candidates).indices for question in questions]
    pairs = list(zip(questions, orders, strict=True))
    counts = {keep: sum(bool(question.relevant & set(order[:keep])) for question, order in pairs) for keep in KEEPS}
    return "  ".join(f"{keep}: {count / len(questions):.3f}" for keep, count in counts.items())


def report(name: str, questions: Sequence[Question], first: Reranker, seconds: Sequence[Reranker]) -> None:
    print(f"\n{name}: {len(questions)} questions whose document is among {len(questions[0].candidates)} candidates")
    for stage in (InputOrder(), first):
        print(f"  has it among the best of {stage.name:12} {kept(stage, questions)}")
        print(f"  alone          {measured(stage, questions)}")
    for second in seconds:
        for keep in (*KEEPS, 1000):
            print(f"  Cascade keep={keep:<5} {measured(Cascade(first, second, keep=keep), questions)}")
        for window, stride in WINDOWS if name.startswith("scifact") else ():
            windows = LongDocuments(Cascade(first, second, keep=50), window=window, stride=stride)
            print(f"  LongDocuments {window=} {stride=} {measured(windows, questions)}")
    for k in KS:
        print(f"  Fusion k={k:<5} {measured(Fusion([InputOrder(), first, *seconds], k=k), questions)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with scifact/ and squad-dev/")
    parser.add_argument("--first", default="lexical", help="the cheap stage")
    parser.add_argument("--second", nargs="*", default=[], help="dear stages")
    parser.add_argument("--queries", type=int, default=300, help="questions of each collection, every n-th")
    arguments = parser.parse_args()
    for name, read in (("scifact train", scifact_train), ("squad-dev", squad_dev)):
        questions = read(arguments.data / name.split()[0])
        questions = questions[:: max(1, len(questions) // arguments.queries)]
        report(name, questions, load_reranker(arguments.first), [load_reranker(one) for one in arguments.second])


if __name__ == "__main__":
    main()
