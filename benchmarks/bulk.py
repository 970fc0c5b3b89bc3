"""Rerank a table with Ray Data's workers and in one process: pairs per second, start, and memory per worker.

    python benchmarks/bulk.py [--questions 200] [--candidates 20] [--workers 2]    (needs "ray[data]" and psutil)

Both use `embedded` and rank four questions at a time, Ray with the recipe of `examples/ray_data.py`. The start is the
time until a small table of one batch per worker is ranked, with imports and, for Ray, its own processes. The rate is
that of the whole table, ranked next; for that, Ray starts new workers. Memory is taken when half of it is done: USS is
what a worker has for itself, on average, and the total is the PSS of the program's processes. Each case has a process
of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import runpy
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import psutil
from workload import QUERY, ROOT, table, texts, write

BATCH = 4
MODEL = "embedded"
Rank = Callable[[Sequence[dict[str, Any]]], Iterable[object]]
"""Ranks rows, and yields something for each."""


def in_one_process(_: int) -> Rank:
    from ksdk_rerank import load_reranker

    reranker = load_reranker(MODEL)

    def rank(rows: Sequence[dict[str, Any]]) -> Iterable[object]:
        for start in range(0, len(rows), BATCH):
            batch = rows[start : start + BATCH]
            yield from reranker.rank_many([row["query"] for row in batch], [row["documents"] for row in batch], top_n=3)

    return rank


def with_ray(workers: int) -> Rank:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray

    ray.init(include_dashboard=False)
    rerank = runpy.run_path(str(ROOT / "examples" / "ray_data.py"))["rerank"]
    return lambda rows: rerank(rows, MODEL, workers).iter_rows()


CASES = {"one process": in_one_process, "Ray Data": with_ray}


def measured(prepare: Callable[[], Rank], small: list[dict[str, Any]], large: list[dict[str, Any]]) -> dict[str, float]:
    """Rank the small table, then the large one."""
    begun = time.perf_counter()
    rank = prepare()
    for _ in rank(small):
        pass
    started = time.perf_counter()
    for number, _ in enumerate(rank(large)):
        if number == len(large) // 2:
            figures = memory()
    rate = sum(len(row["documents"]) for row in large) / (time.perf_counter() - started)
    return {"start_s": round(started - begun, 1), "pairs_per_s": round(rate, 1), **figures}


def memory() -> dict[str, float]:
    """The memory of this program's processes; its workers are those that have mapped an ONNX file."""
    this = psutil.Process()
    processes = [this, *this.children(recursive=True)]
    workers = [each for each in processes if any(".onnx" in part.path for part in each.memory_maps())]
    return {
        "worker_uss_mb": round(statistics.mean(each.memory_full_info().uss for each in workers) / 1e6),
        "total_mb": round(sum(each.memory_full_info().pss for each in processes) / 1e6),
    }


def main() -> None:
    """Measure, print a table, and save the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--candidates", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--output", default="bulk", help="JSON file in results/, without .json")
    parser.add_argument("--case", choices=list(CASES), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        rows = [
            {"query": f"{QUERY} {number}", "documents": texts(options.candidates, seed=number)}
            for number in range(options.questions)
        ]
        prepare = CASES[options.case]
        print(json.dumps(measured(lambda: prepare(options.workers), rows[: BATCH * options.workers], rows)))
        return
    cases = {}
    for case in CASES:
        command = [sys.executable, *sys.argv, "--case", case]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        cases[case] = json.loads(done.stdout.splitlines()[-1])
    table([["", *next(iter(cases.values()))], *([name, *row.values()] for name, row in cases.items())])
    write(
        options.output,
        {"questions": options.questions, "candidates": options.candidates, "workers": options.workers, "cases": cases},
    )


if __name__ == "__main__":
    main()
