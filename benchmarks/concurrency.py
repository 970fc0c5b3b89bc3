"""Sixteen concurrent calls of 20 documents: total time, wait per call, and how long the event loop is blocked.

    python benchmarks/concurrency.py [--rounds 5] [--output concurrency]

Our `arank` is called concurrently and sequentially. Fresh processes measure the very first `arank`, which loads the
model, and the first one after `awarm_up`. If LangChain is installed, its `CrossEncoderReranker.acompress_documents` is
called concurrently with the same weights. Finally, a small call arrives while 500 documents are being ranked.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterable
from importlib.util import find_spec

from workload import QUERY, longest_block, model_folder, table, texts, write

from ksdk_rerank import CrossEncoderReranker

CALLS, DOCUMENTS = 16, 20
Ask = Callable[[int], Awaitable[object]]


async def at_once(ask: Ask) -> dict[str, float]:
    """Run all calls concurrently."""
    return await watched(ask, lambda calls: asyncio.gather(*calls))


async def one_by_one(ask: Ask) -> dict[str, float]:
    """Start each call when the previous one has finished."""

    async def await_each(calls: Iterable[Awaitable[None]]) -> None:
        for call in calls:
            await call

    return await watched(ask, await_each)


async def watched(ask: Ask, run: Callable[[Iterable[Awaitable[None]]], Awaitable[object]]) -> dict[str, float]:
    """Measure the total time, the median wait per call, and the longest time that the loop was blocked.

    The last is measured in wall-clock time and in CPU time of the loop's thread.
    """
    waits: list[float] = []

    async def one(number: int) -> None:
        begun = time.perf_counter()
        await ask(number)
        waits.append(time.perf_counter() - begun)

    watching = asyncio.create_task(longest_block())
    await asyncio.sleep(0)
    begun = time.perf_counter()
    await run(one(number) for number in range(CALLS))
    total = time.perf_counter() - begun
    watching.cancel()
    clock, processor = await watching
    return {
        "all_s": total,
        "median_wait_s": statistics.median(waits),
        "loop_blocked_ms": 1000 * clock,
        "loop_blocked_processor_ms": 1000 * processor,
    }


async def first_call(folder: str, warm: bool) -> dict[str, float]:
    """Make the first call of this process: its time, and how long it blocks the loop."""
    reranker, documents = CrossEncoderReranker(folder), texts(DOCUMENTS)
    if warm:
        await reranker.awarm_up()
    watching = asyncio.create_task(longest_block())
    await asyncio.sleep(0.01)
    begun = time.perf_counter()
    await reranker.arank(QUERY, documents)
    took = time.perf_counter() - begun
    watching.cancel()
    clock, processor = await watching
    return {"first_s": took, "loop_blocked_ms": 1000 * clock, "loop_blocked_processor_ms": 1000 * processor}


def first_calls(rounds: int) -> dict[str, dict[str, float]]:
    """The medians of `first_call` in `rounds` fresh processes, with and without a warm-up."""
    found: dict[str, dict[str, float]] = {}
    for name in ("cold", "warm"):
        command = [sys.executable, __file__, "--first", name]
        runs = [subprocess.run(command, check=True, capture_output=True, text=True).stdout for _ in range(rounds)]
        measured = [json.loads(run) for run in runs]
        found[name] = {key: round(statistics.median(one[key] for one in measured), 3) for key in measured[0]}
    return found


async def beside_a_huge_one(reranker: CrossEncoderReranker) -> dict[str, float]:
    """Time a call with 5 documents, alone and while 500 documents are being ranked."""
    small, huge = texts(5, seed=901), texts(500, seed=900)
    begun = time.perf_counter()
    await reranker.arank(QUERY, small)
    alone = time.perf_counter() - begun
    begun = time.perf_counter()
    under_way = asyncio.create_task(reranker.arank(QUERY, huge))
    await asyncio.sleep(0.5)
    asked = time.perf_counter()
    await reranker.arank(QUERY, small)
    wait = time.perf_counter() - asked
    await under_way
    return {"small_alone_s": alone, "small_beside_huge_s": wait, "huge_s": time.perf_counter() - begun}


def main() -> None:
    """Measure, print a table, and save the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="timed runs of each kind")
    parser.add_argument("--output", default="concurrency", help="JSON file in results/, without .json")
    parser.add_argument("--first", choices=["cold", "warm"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.first:
        print(json.dumps(asyncio.run(first_call(model_folder(), options.first == "warm"))))
        return
    folder = model_folder()
    asked = [texts(DOCUMENTS, seed=number) for number in range(CALLS)]
    reranker = CrossEncoderReranker(folder)
    ways = {"arank, at once": at_once, "arank, one after another": one_by_one}
    asks: dict[str, Ask] = dict.fromkeys(ways, lambda number: reranker.arank(f"{QUERY} {number}", asked[number]))
    if find_spec("langchain_community") and find_spec("langchain_classic"):
        from langchain_classic.retrievers.document_compressors import CrossEncoderReranker as LangChains
        from langchain_community.cross_encoders import HuggingFaceCrossEncoder
        from langchain_core.documents import Document

        model = HuggingFaceCrossEncoder(model_name=folder, model_kwargs={"max_length": 512, "device": "cpu"})
        compressor = LangChains(model=model, top_n=5)
        given = [[Document(text) for text in one] for one in asked]
        ways["LangChain acompress_documents, at once"] = at_once
        asks["LangChain acompress_documents, at once"] = lambda number: compressor.acompress_documents(
            given[number], f"{QUERY} {number}"
        )
    measured: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    for ask in asks.values():
        asyncio.run(ask(0))  # type: ignore[arg-type]
    names = list(ways)
    for begin in range(options.rounds):  # the order rotates, as earlier runs leave caches and threads behind
        for name in names[begin % len(names) :] + names[: begin % len(names)]:
            measured[name].append(asyncio.run(ways[name](asks[name])))
    rows = {
        name: {key: round(statistics.median(one[key] for one in found), 3) for key in found[0]}
        for name, found in measured.items()
    }
    beside = {key: round(value, 3) for key, value in asyncio.run(beside_a_huge_one(reranker)).items()}
    first = first_calls(options.rounds)
    keys = list(rows["arank, at once"])
    table([["", *keys], *([name, *(row.get(key, "") for key in keys)] for name, row in rows.items())])
    table([["first call", *first["cold"]], *([name, *row.values()] for name, row in first.items())])
    print(beside)
    write(
        options.output,
        {"engine": reranker.engine, "calls": CALLS, "documents": DOCUMENTS, "rounds": options.rounds}
        | {"medians": rows, "first_call": first, "beside_500_documents": beside},
    )


if __name__ == "__main__":
    main()
