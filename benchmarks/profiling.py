"""Where the time of one call with 50 candidates of about 125 tokens goes, in processor milliseconds.

    python benchmarks/profiling.py [--model embedded] [--rounds 20]

Every part is timed on the thread that does it, so other processes hardly disturb it, and batches that run at the same
time add up. The tokenizer has threads of its own; nothing else runs meanwhile, so it is timed on all threads.

The graph's operators are timed in separate runs with onnxruntime's profiler. It goes by the clock, so only their shares
are printed. What the queue, `rank` and the adapter add is measured with an engine that takes no time.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnxruntime
from workload import QUERY, table, take_turns, texts, write

from ksdk_rerank import CrossEncoderReranker
from ksdk_rerank.engines import scoring
from ksdk_rerank.engines.scoring import Model

CANDIDATES = 50
GROUPS = {
    "products in int8": r"MatMulInteger|QLinearMatMul|QGemm|DynamicQuantizeMatMul|MatMulNBits|QAttention",
    "products in float32": r"MatMul|Gemm|Attention",
    "quantizing": r"QuantizeLinear|DequantizeLinear",
    "softmax": r"Softmax",
    "layer norm": r"LayerNorm",
    "adding biases and residuals": r"Add",
    "moving data": r"Transpose|Reshape|Concat|Slice|Split|Expand|Unsqueeze|Squeeze|Cast|Memcpy",
    "gelu": r"Gelu|Erf|Tanh",
    "embedding": r"Gather",
}
"""Operators by a pattern for their name; the first that matches counts."""


class Timers:
    """Processor seconds by name."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def timed(self, name: str, function: Callable[..., Any], clock: Callable[[], float]) -> Callable[..., Any]:
        """`function`, whose time by `clock` counts under `name`."""

        def timed(*args: Any, **options: Any) -> Any:
            begun = clock()
            try:
                return function(*args, **options)
            finally:
                self.seconds[name] += clock() - begun

        return timed


@contextmanager
def watched(model: Model, timers: Timers) -> Iterator[None]:
    """Time the parts of `model`'s calls."""
    first_tokens = model.encoder._first_tokens
    originals = [
        (model.encoder, "encode", "encode"),
        (first_tokens, "_encoded", "tokenizer"),
        (first_tokens, "_with_words", "tokenizer"),
        (scoring, "split", "batches"),
        (scoring, "pad", "padding"),
        (model.engine, "forward", "graph"),
    ]
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in originals]
    for owner, name, part in originals:
        clock = time.process_time if part in ("encode", "tokenizer") else time.thread_time
        setattr(owner, name, timers.timed(part, getattr(owner, name), clock))
    try:
        yield
    finally:
        for owner, name, function in before:
            setattr(owner, name, function)


def parts(reranker: CrossEncoderReranker, documents: list[str], rounds: int) -> dict[str, float]:
    """Milliseconds of each part of one call, medians."""
    model = reranker._runner()._loaded()
    rows: list[dict[str, float]] = []
    for _ in range(rounds):
        timers = Timers()
        with watched(model, timers):
            begun = time.process_time()
            reranker.rank(QUERY, documents)
            whole = time.process_time() - begun
        took = timers.seconds
        rows.append(
            {
                "tokenizer": took["tokenizer"],
                "token ids to pairs": took["encode"] - took["tokenizer"],
                "forming batches": took["batches"],
                "padding": took["padding"],
                "graph": took["graph"],
                "the rest: queue, arguments, ranking": whole
                - sum(took[part] for part in ("encode", "batches", "padding", "graph")),
                "one call": whole,
            }
        )
    return {name: round(1000 * statistics.median(row[name] for row in rows), 2) for name in rows[0]}


def batch_overhead(reranker: CrossEncoderReranker, rounds: int) -> int:
    """What a batch costs beyond its tokens, in tokens: the intercept of time over size, divided by the slope."""
    model = reranker._runner()._loaded()
    pairs = model.encoder.encode(QUERY, texts(8, words=25, spread=0)).pairs
    tokens, seconds = [], []
    for count in (1, 2, 4, 8):
        took = []
        for _ in range(rounds):
            begun = time.thread_time()
            model.forward(pairs[:count])
            took.append(time.thread_time() - begun)
        tokens.append(count * max(map(model.length, pairs[:count])))
        seconds.append(min(took))
    slope, intercept = np.polyfit(tokens, seconds, 1, w=1 / np.array(seconds))
    return round(float(intercept / slope))


def operators(model: str, documents: list[str], rounds: int) -> dict[str, float]:
    """Each operator group's share of the graph's time."""
    with TemporaryDirectory() as folder:

        class Profiling(onnxruntime.SessionOptions):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__()
                self.enable_profiling = True
                self.profile_file_prefix = str(Path(folder, "profile"))

        original, onnxruntime.SessionOptions = onnxruntime.SessionOptions, Profiling
        try:
            reranker = CrossEncoderReranker(model, backend="onnx", max_length=511)  # not shared with the other
            session = reranker._runner()._loaded().engine._session  # type: ignore[attr-defined]
        finally:
            onnxruntime.SessionOptions = original
        for _ in range(rounds):
            reranker.rank(QUERY, documents)
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    taken: Counter[str] = Counter()
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            taken[event["args"]["op_name"]] += event["dur"]
    shares: Counter[str] = Counter()
    for operator, microseconds in taken.items():
        group = next((name for name, pattern in GROUPS.items() if re.search(pattern, operator)), "the rest")
        shares[group] += microseconds
    return {name: round(100 * time / taken.total(), 1) for name, time in shares.most_common()}


def around(reranker: CrossEncoderReranker, documents: list[str], rounds: int) -> dict[str, float]:
    """Milliseconds that the queue, `rank` and LangChain's adapter add to a model whose engine takes no time."""
    model = reranker._runner()._loaded()
    forward = model.engine.forward
    model.engine.forward = lambda batch: np.zeros(len(batch.ids), np.float32)  # type: ignore[method-assign]
    calls: dict[str, Callable[[], object]] = {
        "model": lambda: model.score(QUERY, documents),
        "queue": lambda: reranker.score(QUERY, documents),
        "rank": lambda: reranker.rank(QUERY, documents),
    }
    if find_spec("langchain_core"):
        from langchain_core.documents import Document

        from langchain_ksdk_rerank import RerankCompressor

        compressor = RerankCompressor(reranker, top_n=None)
        given = [Document(document) for document in documents]
        calls["LangChain adapter"] = lambda: compressor.compress_documents(given, QUERY)
    try:
        taken = {name: 1000 * took["processor_s"] for name, took in take_turns(calls, 10 * rounds).items()}
    finally:
        model.engine.forward = forward  # type: ignore[method-assign]
    steps = list(calls)
    return {name: round(taken[name] - taken[before], 2) for before, name in itertools.pairwise(steps)}


def main() -> None:
    """Measure, print tables, and save the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="embedded", help="a folder or name; default: the bundled model")
    parser.add_argument("--rounds", type=int, default=20, help="timed calls of each kind")
    parser.add_argument("--output", default="profile", help="JSON file in results/, without .json")
    options = parser.parse_args()
    documents = texts(CANDIDATES)
    reranker = CrossEncoderReranker(options.model, backend="onnx")
    reranker.rank(QUERY, documents)
    found = parts(reranker, documents, options.rounds)
    overhead = batch_overhead(reranker, options.rounds)
    added = around(reranker, documents, options.rounds)
    shares = operators(options.model, documents, max(2, options.rounds // 4))
    table([["part", "ms", "share %"], *([name, took, 100 * took / found["one call"]] for name, took in found.items())])
    print(f"\na batch costs as much as {overhead} tokens beyond its own\n")
    table([["added by", "ms"], *added.items()])
    print()
    table([["operators", "share of the graph %"], *shares.items()])
    figures = {"candidates": CANDIDATES, "milliseconds": found, "batch_overhead_tokens": overhead, "added_ms": added}
    write(options.output, {**figures, "graph_percent": shares})


if __name__ == "__main__":
    main()
