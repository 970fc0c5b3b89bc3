"""What a rerank over HTTP costs beyond the bare request, and how long concurrent calls block the event loop.

    python benchmarks/http_overhead.py [--calls 400]

A local server in its own process reads each request and answers in the format of Jina and Cohere. There are two parts:

1. `JinaReranker.arank` against a bare httpx call, and `CohereReranker.arank` against the bare Cohere SDK, if it is
   installed. All send the same body: 50 documents of 1,000 characters. The calls alternate, and medians are compared.
2. 200 concurrent `arank` calls on one event loop, against a server with 100 ms latency, repeated five times. Measured
   are the total time and the longest delay of a task that only sleeps, by the clock and by the loop thread's processor
   time. On a shared machine, only CPU time is the loop's own doing. The first repetition opens the connections.
   `gc.freeze` hides imported modules from the garbage collector, because scanning them is not part of any request.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import multiprocessing
import os
import statistics
import time
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection

import httpx
from workload import longest_block, machine, write

from ksdk_rerank import CohereReranker, JinaReranker
from ksdk_rerank.errors import MissingExtra

DOCUMENTS = [f"{index} " + "word " * 199 + "end" for index in range(50)]
QUERY = "How often do signing keys rotate?"
LATENCY = 0.1  # seconds
CONCURRENT = 200


def main() -> None:
    """Measure, print a table, and save the figures."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--calls", type=int, default=400, help="timed calls of each kind")
    arguments.add_argument("--output", default="http_overhead", help="JSON file in results/, without .json")
    options = arguments.parse_args()
    load = round(os.getloadavg()[0], 2)
    server, url = started_server(0.0)
    slow_server, slow_url = started_server(LATENCY)
    try:
        rounds = asyncio.run(concurrency(slow_url))
        medians = asyncio.run(overhead(url, options.calls))
    finally:
        server.terminate()
        slow_server.terminate()
    figures = {
        "load_before": load,  # average of the last minute; above about 0.5, other processes affect the figures
        "calls": options.calls,
        "median_ms": {name: round(seconds * 1000, 3) for name, seconds in medians.items()},
        "concurrent": [
            {
                "calls": CONCURRENT,
                "latency_s": LATENCY,
                "all_s": round(total, 3),
                "loop_blocked_ms": round(waited * 1000, 1),
                "loop_blocked_processor_ms": round(worked * 1000, 1),
            }
            for total, waited, worked in rounds
        ],
    }
    write(options.output, figures)
    report(figures, medians, rounds)


async def overhead(url: str, calls: int) -> dict[str, float]:
    """Median seconds of each kind of call. The kinds alternate, so that all see the same machine."""
    jina = JinaReranker(api_key="k", base_url=url)
    body = {
        "model": jina.model,
        "query": QUERY,
        "documents": DOCUMENTS,
        "return_documents": False,
    }
    bare = httpx.AsyncClient()

    async def ask_httpx() -> object:
        return (await bare.post(f"{url}/v1/rerank", json=body)).json()

    kinds: dict[str, Callable[[], Awaitable[object]]] = {
        "httpx": ask_httpx,
        "JinaReranker": lambda: jina.arank(QUERY, DOCUMENTS),
    }
    try:
        cohere = CohereReranker(api_key="k", base_url=url)
    except MissingExtra:
        print("The Cohere SDK is not installed: CohereReranker is left out.")
    else:
        from cohere import AsyncClientV2

        sdk = AsyncClientV2("k", base_url=url, httpx_client=httpx.AsyncClient())
        kinds["Cohere SDK"] = lambda: sdk.rerank(model=cohere.model, query=QUERY, documents=DOCUMENTS)
        kinds["CohereReranker"] = lambda: cohere.arank(QUERY, DOCUMENTS)
    seconds: dict[str, list[float]] = {name: [] for name in kinds}
    for turn in range(calls + 20):
        for name, ask in kinds.items():
            began = time.perf_counter()
            await ask()
            if turn >= 20:  # the first 20 are warm-up
                seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(measured) for name, measured in seconds.items()}


async def concurrency(url: str) -> list[tuple[float, float, float]]:
    """For each of five rounds: total seconds, and the longest block of the loop in wall-clock and in CPU time."""
    reranker = JinaReranker(api_key="k", base_url=url, timeout=60.0)
    await reranker.arank(QUERY, DOCUMENTS[:1])
    gc.collect()
    gc.freeze()
    rounds = []
    for _ in range(5):
        ticking = asyncio.ensure_future(longest_block())
        await asyncio.sleep(0.01)
        began = time.perf_counter()
        await asyncio.gather(*(reranker.arank(QUERY, DOCUMENTS) for _ in range(CONCURRENT)))
        total = time.perf_counter() - began
        ticking.cancel()
        rounds.append((total, *await ticking))
    return rounds


def report(figures: dict[str, object], medians: dict[str, float], rounds: list[tuple[float, float, float]]) -> None:
    """Print the results."""
    print(f"{machine()}, load {figures['load_before']} before")
    print(f"\n50 documents of 1,000 characters, median of {figures['calls']}:")
    for name, median in medians.items():
        print(f"  {name:15} {median * 1000:7.2f} ms  {(median - medians['httpx']) * 1000:+7.2f} ms over bare httpx")
    print(f"\n{CONCURRENT} calls at once, latency {LATENCY * 1000:.0f} ms:")
    for total, waited, worked in rounds:
        blocked = f"{waited * 1000:5.1f} ms, {worked * 1000:5.1f} ms of it at work"
        print(f"  {total:6.3f} s for all, loop blocked for at most {blocked}")


def started_server(latency: float) -> tuple[multiprocessing.process.BaseProcess, str]:
    """Start a server in its own process; returns the process and the server's URL."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=serve, args=(sender, latency), daemon=True)
    process.start()
    return process, f"http://127.0.0.1:{receiver.recv()}"


def serve(ready: Connection, latency: float) -> None:
    """Answer every POST with a score for each of its documents, after `latency` seconds."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = next(line for line in head.split(b"\r\n") if line.startswith(b"content-length:"))
                body = json.loads(await reader.readexactly(int(length.partition(b":")[2])))
                await asyncio.sleep(latency)
                results = [{"index": i, "relevance_score": 1 / (i + 2)} for i in range(len(body["documents"]))]
                reply = json.dumps({"results": results, "usage": {"total_tokens": 1}}).encode()
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n")
                writer.write(b"content-length: %d\r\n\r\n" % len(reply) + reply)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def listen() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=1024)
        ready.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(listen())


if __name__ == "__main__":
    main()
