"""Peak memory for 1,000 documents of 512 tokens and for 50, which shows what a token budget per batch saves.

A third case is 100 calls with 20 documents of varying lengths. Some engines prepare for each new input shape, and what
they keep must not grow without limit.

    python benchmarks/memory.py [--many 1000] [--backends onnx,openvino]

Each case runs in its own process. The figure is the process's peak resident memory (`ru_maxrss`).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from importlib.util import find_spec

from workload import QUERY, model_folder, peak_mb, table, texts, write

from ksdk_rerank import CrossEncoderReranker

FEW, CALLS = 50, 100
NEEDS = {"onnx": "onnxruntime", "openvino": "openvino", "torch": "sentence_transformers"}


def one(backend: str, count: int, calls: int) -> None:
    """Rank `count` new documents in each of `calls` calls; print megabytes after loading, halfway and at the peak."""
    spread = 5 if calls == 1 else 250
    asked = [texts(count, words=450 - spread, spread=spread, seed=number) for number in range(calls)]
    reranker = CrossEncoderReranker(model_folder(), backend=backend)  # type: ignore[arg-type]
    reranker.rank(QUERY, ["a document"])
    loaded, after = peak_mb(), []
    for documents in asked:
        reranker.rank(QUERY, documents)
        after.append(peak_mb())
    print(json.dumps({"loaded_mb": loaded, "half_way_mb": after[len(after) // 2], "peak_mb": after[-1]}))


def main() -> None:
    """Measure, print a table, and save the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--many", type=int, default=1000, help="documents in the large call")
    parser.add_argument("--backends", default="onnx,openvino", help="comma-separated; skipped if not installed")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        one(options.one[0], int(options.one[1]), int(options.one[2]))
        return
    model_folder()
    rows = {}
    for backend in (name for name in options.backends.split(",") if find_spec(NEEDS[name])):
        for count, calls in ((FEW, 1), (options.many, 1), (20, CALLS)):
            command = [sys.executable, __file__, "--one", backend, str(count), str(calls)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            times = "" if calls == 1 else f"{calls} times "
            rows[f"{backend}, {times}{count} documents"] = json.loads(done.stdout)
    table([["", "loaded MB", "halfway MB", "peak MB"], *([name, *row.values()] for name, row in rows.items())])
    write("memory", {"tokens_per_document": 512, "cases": rows})


if __name__ == "__main__":
    main()
