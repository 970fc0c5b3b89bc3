"""The Ray Data recipe gives the results of one process, in the order of its rows."""

import os
import runpy

import ray

from ksdk_rerank import load_reranker

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
ray.init(include_dashboard=False)
example = runpy.run_path("examples/ray_data.py")
rows = example["candidates"]()
found = example["rerank"](rows, "embedded", workers=2).take_all()
rankings = load_reranker("embedded").rank_many(
    [row["query"] for row in rows], [row["documents"] for row in rows], top_n=3
)
assert [row["query"] for row in found] == [row["query"] for row in rows]
assert [row["best"] for row in found] == [list(ranking.indices) for ranking in rankings]
for ranking, row in zip(rankings, found, strict=True):
    assert all(abs(hit.score - score) < 1e-4 for hit, score in zip(ranking, row["scores"], strict=True))
print(f"{len(rows)} questions on two workers, ranked as in one process")
