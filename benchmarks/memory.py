"""Peak memory of 1,000 documents of 512 tokens, beside 50 of them: what a budget of tokens a batch is for.

    python benchmarks/memory.py [--many 1000] [--backends onnx,openvino]

Each case is a process of its own, and its figure the most memory that was ever resident (`ru_maxrss`).
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from importlib.util import find_spec

from workload import QUERY, model_folder, table, texts, write

from ksdk_rerank import CrossEncoderReranker

FEW = 50
NEEDS = {"onnx": "onnxruntime", "openvino": "openvino", "torch": "sentence_transformers"}


def one(backend: str, count: int) -> None:
    """Rank `count` documents and print megabytes: with the model loaded, and at most."""
    documents = texts(count, words=450, spread=5)
    reranker = CrossEncoderReranker(model_folder(), backend=backend)  # type: ignore[arg-type]
    reranker.rank(QUERY, ["a document"])
    loaded = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    ranking = reranker.rank(QUERY, documents)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"loaded_mb": round(loaded), "peak_mb": round(peak), "truncated": ranking.truncated}))


def main() -> None:
    """Measure, print a table, and write the figures down."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--many", type=int, default=1000)
    parser.add_argument("--backends", default="onnx,openvino")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        one(options.one[0], int(options.one[1]))
        return
    model_folder()
    rows = {}
    for backend in (name for name in options.backends.split(",") if find_spec(NEEDS[name])):
        for count in (FEW, options.many):
            command = [sys.executable, __file__, "--one", backend, str(count)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            rows[f"{backend}, {count} documents"] = json.loads(done.stdout)
    table([["", "loaded MB", "peak MB", "truncated"], *([name, *row.values()] for name, row in rows.items())])
    write("memory", {"tokens_a_document": 512, "cases": rows})


if __name__ == "__main__":
    main()
