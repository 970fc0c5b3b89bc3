"""200 queries with 20 short documents each: one `rank` after another, and one `rank_many`.

    python benchmarks/many_queries.py [--model embedded] [--queries 200] [--rounds 5]

Prints seconds, batches and padded tokens, and how much memory four times as many queries add to the peak. Both ways
give the same scores except for rounding, and the largest difference is printed, too. `processor_s` is the time on all
cores together, which is more reliable than the clock on a shared machine; the clock also shows cores that stay idle.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from workload import peak_mb, table, take_turns, texts, write

from ksdk_rerank import CrossEncoderReranker, Ranking
from ksdk_rerank.engines.batching import Batch

DOCUMENTS, WORDS = 20, 25


class Counter:
    """Counts the batches that an engine runs, and their tokens with padding."""

    def __init__(self, reranker: CrossEncoderReranker) -> None:
        self.batches = self.tokens = 0
        engine = reranker._runner()._loaded().engine
        self._forward = engine.forward
        engine.forward = self._count  # type: ignore[method-assign]

    def _count(self, batch: Batch) -> Any:
        self.batches += 1
        self.tokens += batch.ids.size
        return self._forward(batch)

    def of(self, before: tuple[int, int] = (0, 0)) -> tuple[int, int]:
        """Batches and tokens since `before`."""
        return self.batches - before[0], self.tokens - before[1]


def raw_scores(rankings: list[Ranking]) -> list[dict[int, float]]:
    """Each ranking's raw scores by document."""
    return [{hit.index: hit.raw_score or 0.0 for hit in ranking} for ranking in rankings]


def main() -> None:
    """Measure, print a table, and save the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="embedded", help="a folder or a name")
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5, help="timed runs of each kind")
    parser.add_argument("--output", default="many_queries", help="JSON file in results/, without .json")
    options = parser.parse_args()
    queries = texts(options.queries, words=8, spread=2, seed=99)
    documents = [texts(DOCUMENTS, words=WORDS, spread=8, seed=number) for number in range(options.queries)]
    reranker = CrossEncoderReranker(options.model)
    reranker.warm_up()
    counter = Counter(reranker)
    ways: dict[str, Callable[[], list[Ranking]]] = {
        "rank, one after another": lambda: [
            reranker.rank(query, texts) for query, texts in zip(queries, documents, strict=True)
        ],
        "rank_many": lambda: reranker.rank_many(queries, documents),
    }
    counted, scores = {}, []
    for name, way in ways.items():
        before = counter.of()
        scores.append(raw_scores(way()))
        counted[name] = dict(zip(("batches", "padded_tokens"), counter.of(before), strict=True))
    taken = take_turns(ways, options.rounds)
    rows = {name: {**taken[name], **counted[name]} for name in ways}
    alone, together = rows.values()
    ratio = {key: round(alone[key] / together[key], 2) for key in alone}
    difference = max(abs(one[index] - other[index]) for one, other in zip(*scores, strict=True) for index in one)
    before_mb = peak_mb()
    reranker.rank_many(4 * queries, 4 * documents)
    added_mb = peak_mb() - before_mb
    table([["", *alone], *([name, *row.values()] for name, row in [*rows.items(), ("ratio", ratio)])])
    print(f"largest difference between raw scores: {difference:.2g}")
    print(f"four times as many queries add {added_mb} MB to a peak of {before_mb} MB")
    figures = {"engine": reranker.engine, "queries": options.queries, "documents": DOCUMENTS, "ways": rows}
    figures |= {"ratio": ratio, "largest_difference": difference, "peak_mb": before_mb, "four_times_add_mb": added_mb}
    write(options.output, figures)


if __name__ == "__main__":
    main()
