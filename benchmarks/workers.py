"""Memory of the worker processes of a web server on one machine: gunicorn's, each with its own reranker.

    python benchmarks/workers.py [--workers 4] [--models embedded,FOLDER] [--backend onnx]  (needs gunicorn and psutil)

Each model runs in these ways:

- `copied`: each worker copies the weights, as onnxruntime does by itself if the graph contains them.
- `mapped`: each worker maps the weights, as this library makes it do, here and in the ways below.
- `not packed`: without the copies that onnxruntime makes of the weights to lay them out for its matrix products.
- `imported first`: `--preload` imports the libraries before the fork, and each worker loads the model.
- `loaded first`: `--preload` loads the model before the fork. The workers load it again, as they must.

OpenVINO (`--backend openvino`) maps weights by itself if they are in a file beside the graph: `inside` and `beside`.

USS is the memory that a single worker has for itself, and PSS adds its share of the pages that processes share; both
are means over the workers, which have ranked 20 documents each. The total is the PSS of the workers and their parent.
Processor times are those of one short document and of 20 documents: the median over calls, then over workers.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from unittest.mock import patch

import httpx
import psutil
from workload import QUERY, model_folder, table, texts, write

from ksdk_rerank import CrossEncoderReranker, Reranker, load_reranker

WAYS = {
    "onnx": ("copied", "mapped", "not packed", "imported first", "loaded first"),
    "openvino": ("inside", "beside"),
}
PRELOADED = ("imported first", "loaded first")
DTYPES = {"onnx": ("int8", "float32"), "openvino": ("auto",)}
CALLS = 5

Respond = Callable[[str, list[tuple[str, str]]], object]
Application = Callable[[object, Respond], Iterable[bytes]]


def application(model: str, dtype: str, backend: str, way: str) -> Application:
    """The web application. gunicorn calls this in each worker or, with `--preload`, once before the fork."""
    if backend == "onnx":
        prepare(way)
    reranker: Reranker = load_reranker("embedded")
    if model != "embedded":
        reranker = CrossEncoderReranker(model, dtype=dtype, backend=backend)  # type: ignore[arg-type]
    if way == "loaded first":
        reranker.warm_up()

    def answer(_: object, respond: Respond) -> Iterable[bytes]:
        reranker.warm_up()
        times = {"short_ms": processor_ms(reranker, ["rotate it"]), "many_ms": processor_ms(reranker, texts(20))}
        respond("200 OK", [])
        return [json.dumps({"pid": os.getpid(), **times}).encode()]

    return answer


def prepare(way: str) -> None:
    """Import the engine, and change how it loads weights."""
    from ksdk_rerank.engines import onnx  # first, because it imports onnxruntime without its telemetry

    onnxruntime = import_module("onnxruntime")
    plain = onnxruntime.SessionOptions

    def without_packing() -> object:
        options = plain()
        options.add_session_config_entry("session.disable_prepacking", "1")
        return options

    if way == "copied":
        patch.object(onnx, "graph_without_weights", str).start()  # onnxruntime gets the path
    if way == "not packed":
        patch.object(onnxruntime, "SessionOptions", without_packing).start()


def processor_ms(reranker: Reranker, documents: Sequence[str]) -> float:
    """The median processor time of a call, in milliseconds."""
    times = []
    for _ in range(CALLS):
        begun = time.process_time()
        reranker.rank(QUERY, documents)
        times.append(1000 * (time.process_time() - begun))
    return statistics.median(times)


def measured(model: str, dtype: str, backend: str, way: str, workers: int) -> dict[str, float]:
    """Start gunicorn, wait until every worker has answered, and measure their memory."""
    with tempfile.TemporaryDirectory() as folder:
        if way == "beside":
            model = with_weights_beside(model, Path(folder, "model"))
        socket = str(Path(folder, "socket"))
        call = f"workers:application({model!r}, {dtype!r}, {backend!r}, {way!r})"
        options = ["--workers", str(workers), "--bind", f"unix:{socket}", "--timeout", "600", "--log-level", "warning"]
        options += ["--preload"] * (way in PRELOADED)
        command = [sys.executable, "-m", "gunicorn", *options, call]
        with subprocess.Popen(command, cwd=Path(__file__).parent) as server:
            try:
                answers = answers_of_all(socket, workers)
                memory = [psutil.Process(pid).memory_full_info() for pid in answers]
                parent = psutil.Process(server.pid).memory_full_info()
            finally:
                server.terminate()
    return {
        "worker_uss_mb": round(statistics.mean(each.uss for each in memory) / 1e6),
        "worker_pss_mb": round(statistics.mean(each.pss for each in memory) / 1e6),
        "total_mb": round(sum(each.pss for each in (*memory, parent)) / 1e6),
        "short_ms": round(statistics.median(each["short_ms"] for each in answers.values()), 1),
        "many_ms": round(statistics.median(each["many_ms"] for each in answers.values())),
    }


def answers_of_all(socket: str, workers: int) -> dict[int, dict[str, float]]:
    """Send requests until each worker has answered one; the answers by process id."""

    def ask(_: int) -> dict[str, float]:
        with httpx.Client(transport=httpx.HTTPTransport(uds=socket, retries=10), timeout=600) as client:
            answer: dict[str, float] = client.get("http://gunicorn").json()
            return answer

    found: dict[int, dict[str, float]] = {}
    with ThreadPoolExecutor(2 * workers) as pool:
        while len(found) < workers:
            found |= {int(answer.pop("pid")): answer for answer in pool.map(ask, range(2 * workers))}
    return found


def with_weights_beside(model: str, target: Path) -> str:
    """Copy a model's folder, and move the weights of its float32 graph into a file beside it."""
    import onnx

    shutil.copytree(model, target)
    path = target / "onnx" / "model.onnx"
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="model.onnx.data")
    return str(target)


def main() -> None:
    """Measure, print a table, and save the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--models", help="comma-separated: folders with onnx/model.onnx or, for onnx, embedded")
    parser.add_argument("--backend", choices=list(WAYS), default="onnx")
    parser.add_argument("--output", default="workers", help="JSON file in results/, without .json")
    options = parser.parse_args()
    rows = {}
    for name in options.models.split(",") if options.models else [model_folder()]:
        model = name if name == "embedded" else str(Path(name).resolve())
        for dtype in ("auto",) if model == "embedded" else DTYPES[options.backend]:
            for way in WAYS[options.backend]:
                figures = measured(model, dtype, options.backend, way, options.workers)
                rows[f"{Path(model).name}, {dtype}, {way}"] = figures
    table([["", *next(iter(rows.values()))], *([name, *row.values()] for name, row in rows.items())])
    write(options.output, {"backend": options.backend, "workers": options.workers, "cases": rows})


if __name__ == "__main__":
    main()
