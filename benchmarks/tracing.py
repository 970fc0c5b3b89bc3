"""What the OpenTelemetry span costs per call: without the package, with its API alone, and with its SDK.

    python benchmarks/tracing.py        (needs opentelemetry-sdk)

The reranker is `InputOrder` over 50 documents. It does no ranking, so only this library's own work is timed. The cases,
and one without any tracing code, take turns over many rounds. The figures are medians in microseconds per call.
"""

from __future__ import annotations

import statistics
import timeit
from collections.abc import Callable
from contextlib import nullcontext

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from workload import table, write

from ksdk_rerank import InputOrder, _tracing, base

ROUNDS, CALLS = 40, 200
DOCUMENTS = [f"document {number}" for number in range(50)]


def rank() -> None:
    """The call that is timed."""
    InputOrder().rank("query", DOCUMENTS)


def main() -> None:
    """Time the three cases, and the same call without any tracing code."""
    traced, tracer = _tracing.traced, _tracing._tracer
    provider = TracerProvider(shutdown_on_exit=False)
    variants: dict[str, Callable[[], object]] = {
        "no tracing code": lambda: setattr(base, "traced", lambda *_: nullcontext(_tracing._nothing)),
        "without OpenTelemetry": lambda: setattr(_tracing, "_tracer", lambda: None),
        "with its API alone": lambda: setattr(_tracing, "_tracer", lambda: trace.NoOpTracer()),
        "with its SDK, no exporter": lambda: setattr(_tracing, "_tracer", lambda: provider.get_tracer("benchmark")),
    }
    times: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(ROUNDS):
        for name, prepare in variants.items():
            base.traced, _tracing._tracer = traced, tracer  # type: ignore[attr-defined]
            prepare()
            times[name].append(timeit.timeit(rank, number=CALLS) / CALLS * 1e6)
    medians = {name: round(statistics.median(measured), 1) for name, measured in times.items()}
    table([["", "us per call"], *medians.items()])
    write("tracing", {"microseconds_per_call": medians})


if __name__ == "__main__":
    main()
