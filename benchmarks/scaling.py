"""Cost per token from 10 to 5,000 candidates and from 32 to 512 tokens per candidate. It should stay flat.

    python benchmarks/scaling.py [--backend onnx] [--most-tokens 400000] [--output scaling]

Sizes with more tokens than `--most-tokens` are left out, and the output lists them. After a warm-up, each size is
measured once. Sizes below 10,000 tokens are measured five times, and the median counts.

    python benchmarks/scaling.py --long [--rounds 7] [--output scaling-long]

`--long` instead ranks 50 documents of 1 MB with `embedded`, and the same documents cut to 16 kB. The model reads about
the first 2 kB of each. The two alternate, and the ratio of their times should be 1. Peak memory is what the first call
with 1 MB documents adds.
"""

from __future__ import annotations

import argparse
import statistics
import time

from workload import QUERY, model_folder, peak_mb, table, take_turns, texts, write

from ksdk_rerank import CrossEncoderReranker, load_reranker

CANDIDATES = (10, 50, 200, 1000, 5000)
TOKENS = (32, 128, 512)
WORDS_PER_TOKEN = 0.72


LONG, CUT = 1_000_000, 16_000  # characters


def long_documents(rounds: int, output: str) -> None:
    """Measure the cost of text beyond the model's window."""
    reranker = load_reranker("embedded")
    whole = [text[:LONG] for text in texts(50, LONG // 5, spread=0)]
    assert {len(text) for text in whole} == {LONG}
    cut = [text[:CUT] for text in whole]
    reranker.rank(QUERY, cut)
    before = peak_mb()
    reranker.rank(QUERY, whole)
    added = peak_mb() - before
    seconds = take_turns(
        {"1 MB": lambda: reranker.rank(QUERY, whole), "16 kB": lambda: reranker.rank(QUERY, cut)}, rounds
    )
    ratio = {
        measure: round(seconds["1 MB"][measure] / seconds["16 kB"][measure], 3)
        for measure in ("median_s", "fastest_s", "processor_s")
    }
    table([["", *seconds["1 MB"]], *([name, *row.values()] for name, row in [*seconds.items(), ("ratio", ratio)])])
    print("added peak memory:", added, "MB")
    write(output, {"documents": 50, "seconds": seconds, "ratio": ratio, "added_mb": added})


def main() -> None:
    """Measure, print a table, and save the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", choices=["openvino", "onnx", "torch"], help="default: chosen by the library")
    parser.add_argument("--most-tokens", type=int, default=400_000, help="leave out sizes with more tokens")
    parser.add_argument("--long", action="store_true", help="rank documents of 1 MB instead")
    parser.add_argument("--rounds", type=int, default=7, help="timed calls of each kind, with --long")
    parser.add_argument("--output", help="JSON file in results/, without .json; default: scaling or scaling-long")
    options = parser.parse_args()
    if options.long:
        long_documents(options.rounds, options.output or "scaling-long")
        return
    reranker = CrossEncoderReranker(model_folder(), backend=options.backend)
    reranker.rank(QUERY, texts(20))
    rows, left_out = [], []
    for tokens in TOKENS:
        for candidates in CANDIDATES:
            if tokens * candidates > options.most_tokens:
                left_out.append({"candidates": candidates, "tokens_each": tokens})
                continue
            documents = texts(candidates, round((tokens - 14) * WORDS_PER_TOKEN), spread=2, seed=tokens)
            seconds, processor = [], []
            for _ in range(5 if tokens * candidates < 10_000 else 1):
                clock, used = time.perf_counter(), time.process_time()
                reranker.rank(QUERY, documents)
                seconds.append(time.perf_counter() - clock)
                processor.append(time.process_time() - used)
            read = sum(min(512, count + 14) for count in reranker.count_tokens(documents))
            rows.append(
                {
                    "candidates": candidates,
                    "tokens_each": round(read / candidates),
                    "seconds": round(statistics.median(seconds), 3),
                    "microseconds_per_token": round(1e6 * statistics.median(seconds) / read, 1),
                    "processor_microseconds_per_token": round(1e6 * statistics.median(processor) / read, 1),
                }
            )
            print(rows[-1], flush=True)
    table([list(rows[0]), *(list(row.values()) for row in rows)])
    print("left out, too many tokens:", left_out)
    write(options.output or "scaling", {"engine": reranker.engine, "sizes": rows, "left_out": left_out})


if __name__ == "__main__":
    main()
