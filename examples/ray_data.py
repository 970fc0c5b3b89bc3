"""Rerank a table offline with Ray Data, on two worker processes. Needs `pip install "ray[data]"`.

A row is a question with all of its candidates, because they are ranked together.
"""

import json
import os
from pathlib import Path

import pyarrow as pa
import ray

from ksdk_rerank import LexicalReranker, load_reranker

KNOWLEDGE_BASE = Path(__file__).parent / "knowledge_base"


class Rerank:
    def __init__(self, model: str) -> None:  # once in each worker
        self.reranker = load_reranker(model)

    def __call__(self, rows: pa.Table) -> pa.Table:
        queries, documents = rows["query"].to_pylist(), rows["documents"].to_pylist()
        rankings = self.reranker.rank_many(queries, documents, top_n=3)
        rows = rows.append_column("best", [[list(ranking.indices) for ranking in rankings]])
        return rows.append_column("scores", [[[hit.score for hit in ranking] for ranking in rankings]])


def rerank(rows: list[dict], model: str, workers: int) -> ray.data.Dataset:
    ray.data.DataContext.get_current().execution_options.preserve_order = True  # before the table is made
    table = ray.data.from_items(rows, override_num_blocks=2 * workers)  # or ray.data.read_parquet("candidates/")
    return table.map_batches(
        Rerank,
        fn_constructor_args=[model],
        batch_format="pyarrow",
        batch_size=4,
        compute=ray.data.ActorPoolStrategy(size=workers),
    )


def candidates() -> list[dict]:
    """Some questions, each with the articles that BM25 finds."""
    lines = (KNOWLEDGE_BASE / "questions.jsonl").read_text().splitlines()[:16]
    questions = [json.loads(line)["question"] for line in lines]
    articles = [path.read_text() for path in sorted(KNOWLEDGE_BASE.glob("*.md"))]
    found = LexicalReranker().rank_many(questions, [articles] * len(questions), top_n=10)
    return [
        {"query": question, "documents": [hit.document for hit in ranking]}
        for question, ranking in zip(questions, found, strict=True)
    ]


def main() -> None:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # Ray would send statistics
    ray.init(include_dashboard=False)
    for row in rerank(candidates(), "embedded", workers=2).iter_rows():  # or .write_parquet("reranked/")
        print(row["query"], "->", row["documents"][row["best"][0]].partition("\n")[0])


if __name__ == "__main__":
    main()
