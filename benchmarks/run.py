"""Runs the benchmarks one after another, stores their results and redraws the page.

    nox -s benchmarks -- [NAME ...]         in an environment with all libraries that take part
    python benchmarks/run.py [NAME ...]     with those installed here

NAME is one of `RUNS`. Without a NAME, all are measured, which takes hours on two cores; what needs a folder that is not
given, or a GPU, is left out. Results go under this processor's key, beside those of others. Run it while the machine
has nothing else to do.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

import page
from workload import ROOT

from ksdk_rerank.engines.hardware import has_gpu_driver

RUNS = {
    "bulk": "bulk.py",
    "budgets": "latency.py --budgets --rounds 15",
    "compose": "compose.py --second embedded --data {data}",
    "compose-long": "long_documents.py --second embedded --queries 60 --data {data}",
    "concurrency": "concurrency.py",
    "http_overhead": "http_overhead.py",
    "last_layer": "last_layer.py",
    "latency": "latency.py",
    "many_queries": "many_queries.py",
    "memory": "memory.py",
    "passages-cost": "passages.py --parts cost --cost 10 --output passages-cost --data {data}",
    "passages-own": "passages.py --parts own --output passages-own --data {data}",
    "passages-several": "passages.py --parts several --queries 80 --output passages-several --data {data}",
    "profile": "profiling.py",
    "prompt_models": "prompt_models.py --rounds 2",
    "prompt_models-gpu": "prompt_models.py --device cuda",
    "prompt_prefix": "prompt_models.py --prefix --layers 4 --rounds 2",
    "quality-embedded": "quality.py embedded --queries 200 --depth 50 --together trec-dl-2019 wikiqa"
    " --output quality-embedded --data {data}",
    "quality-embedded-full": "quality.py embedded cross-encoder/ms-marco-MiniLM-L-12-v2"
    " --collections trec-dl-2019 wikiqa --no-baselines --output quality-embedded-full --data {data}",
    "quality-engines": "quality.py {exported} {exported}@onnx:float32 --queries 100 --depth 20 --no-baselines"
    " --collections scifact trec-dl-2019 squad-dev wikiqa cranfield --output quality-engines --data {data}",
    "quality-engines-full": "quality.py {exported} {exported}@onnx:float32 --collections trec-dl-2019 wikiqa"
    " --no-baselines --output quality-engines-full --data {data}",
    "quality-minilm-l12": "quality.py embedded cross-encoder/ms-marco-MiniLM-L-12-v2 --queries 200 --depth 50"
    " --collections scifact trec-dl-2019 squad-dev wikiqa cranfield --together trec-dl-2019 wikiqa --no-baselines"
    " --output quality-minilm-l12 --data {data}",
    "quality-lexical": "quality.py lexical --output quality-lexical --data {data}",
    "quality-stock": "quality.py {exported} --stock --collections trec-dl-2019 wikiqa --queries 40 --depth 30"
    " --output quality-stock --data {data}",
    "quantize-large": "quantize_large.py",
    "scaling": "scaling.py",
    "scaling-long": "scaling.py --long",
    "startup": "startup.py --install",
    "tracing": "tracing.py",
    "workers": "workers.py",
    "workers-openvino": "workers.py --backend openvino --output workers-openvino",
}
"""Each result, and the benchmark that measures it, with its arguments; folders are in braces."""


def main() -> int:
    """Run what was asked for; returns how many benchmarks failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(RUNS))
    parser.add_argument("--data", metavar="FOLDER", help="the unpacked collections, as quality.py describes them")
    parser.add_argument(
        "--exported",
        metavar="FOLDER",
        help="embedded with its float32 file; training/README.md makes it",
    )
    options = parser.parse_args()
    if unknown := set(options.names) - RUNS.keys():
        parser.error(f"no benchmark is named {min(unknown)!r}; choose from {', '.join(RUNS)}")
    failed = []
    for name in options.names or RUNS:
        folders = {folder: getattr(options, folder) for folder in ("data", "exported")}
        if missing := [folder for folder, path in folders.items() if path is None and f"{{{folder}}}" in RUNS[name]]:
            print(f"== {name}: left out, it needs --{missing[0]}")
            continue
        if "cuda" in RUNS[name] and not has_gpu_driver():
            print(f"== {name}: left out, there is no GPU")
            continue
        script, *arguments = (word.format(**folders) for word in RUNS[name].split())
        print(f"== {name}: {RUNS[name]}", flush=True)
        if subprocess.run([sys.executable, ROOT / "benchmarks" / script, *arguments], check=False).returncode:
            failed.append(name)
    page.write()
    print("failed:", ", ".join(failed) or "none")
    return len(failed)


if __name__ == "__main__":
    raise SystemExit(main())
