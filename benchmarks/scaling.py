"""Cost per token from 10 to 5,000 candidates, and from 32 to 512 tokens: it should be flat.

    python benchmarks/scaling.py [--backend onnx] [--most-tokens 400000]

Sizes with more tokens than `--most-tokens` are left out, and the output says so. Each is measured once after the model
is warm; a size of few tokens several times, and then it is the median.
"""

from __future__ import annotations

import argparse
import statistics
import time

from workload import QUERY, model_folder, table, texts, write

from ksdk_rerank import CrossEncoderReranker

CANDIDATES = (10, 50, 200, 1000, 5000)
TOKENS = (32, 128, 512)
WORDS_A_TOKEN = 0.72


def main() -> None:
    """Measure, print a table, and write the figures down."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", choices=["openvino", "onnx", "torch"])
    parser.add_argument("--most-tokens", type=int, default=400_000)
    options = parser.parse_args()
    reranker = CrossEncoderReranker(model_folder(), backend=options.backend)
    reranker.rank(QUERY, texts(20))
    rows, left_out = [], []
    for tokens in TOKENS:
        for candidates in CANDIDATES:
            if tokens * candidates > options.most_tokens:
                left_out.append([candidates, tokens])
                continue
            documents = texts(candidates, round((tokens - 14) * WORDS_A_TOKEN), spread=2, seed=tokens)
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
                    "microseconds_a_token": round(1e6 * statistics.median(seconds) / read, 1),
                    "processor_microseconds_a_token": round(1e6 * statistics.median(processor) / read, 1),
                }
            )
            print(rows[-1], flush=True)
    table([list(rows[0]), *(list(row.values()) for row in rows)])
    print("left out, too many tokens:", left_out)
    write("scaling", {"engine": reranker.engine, "sizes": rows, "left_out": left_out})


if __name__ == "__main__":
    main()
