"""What `export` saves by calculating the last layer for the first token alone: seconds with and without.

    python benchmarks/last_layer.py [--rounds 15]        (needs ksdk-rerank[torch])

Six layers with MiniLM-L6's weights, exported both ways; 50 candidates of about 137 and 480 tokens.
"""

from __future__ import annotations

import argparse
import tempfile
from functools import partial
from pathlib import Path
from unittest.mock import patch

from workload import QUERY, model_folder, table, take_turns, texts, write

from ksdk_rerank import CrossEncoderReranker
from ksdk_rerank.engines.export import export

WORDS = {"137 tokens": 85, "480 tokens": 310}


def main() -> None:
    """Measure, print a table, and save the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    model = model_folder()
    with tempfile.TemporaryDirectory() as scratch:
        whole = Path(scratch, "whole")
        with (
            patch("ksdk_rerank.engines.last_layer.restrict_last_layer"),
            patch("ksdk_rerank.engines.int8_graph.restrict_last_layer"),
        ):
            export(model, whole)
        figures: dict[str, dict[str, object]] = {}
        for dtype in ("int8", "float32"):
            for size, words in WORDS.items():
                documents = texts(50, words=words)
                calls = {
                    name: partial(CrossEncoderReranker(folder, backend="onnx", dtype=dtype).score, QUERY, documents)
                    for name, folder in (("whole", whole), ("first token", model))
                }
                taken = take_turns(calls, options.rounds)
                seconds = [taken[name]["median_s"] for name in calls]
                figures[f"{dtype}, {size}"] = {"whole_s": seconds[0], "first_token_s": seconds[1]}
                figures[f"{dtype}, {size}"]["ratio"] = round(seconds[1] / seconds[0], 3)
    table([["", *next(iter(figures.values()))], *([name, *row.values()] for name, row in figures.items())])
    write("last_layer", {"candidates": 50, "rounds": options.rounds, "cases": figures})


if __name__ == "__main__":
    main()
