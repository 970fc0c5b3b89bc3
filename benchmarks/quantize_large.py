"""Time, memory and disk that `quantize` takes for a model in the size of XLM-RoBERTa large, as bge-reranker-large is.

    python benchmarks/quantize_large.py          (needs ksdk-rerank[quantize], 12 GB of memory and 6 GB of disk)

The model has 560 million parameters: 24 layers of 1,024 (303 million) and 250,002 tokens. Its weights are random, so
only time, memory and sizes mean something. Its graph exceeds what fits into one ONNX file, so its weights are in a
file beside it. Each step runs in its own process; memory is its peak resident memory (`ru_maxrss`).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from workload import QUERY, ROOT, peak_mb, table, texts, write

from ksdk_rerank import CrossEncoderReranker
from ksdk_rerank.engines.quantize import quantize

SIZES = {"HIDDEN": 1024, "HEADS": 16, "LAYERS": 24, "INNER": 4096, "POSITIONS": 514}
VOCABULARY = 250_002
PAIRS = 8


def write_model(folder: Path) -> None:
    """Write the float32 model, with the graph that the tests use for tiny ones."""
    sys.path.insert(0, str(ROOT / "tests" / "support"))
    import onnx
    import tiny_models

    for name, size in SIZES.items():
        setattr(tiny_models, name, size)
    tokenizer = tiny_models.xlm_roberta_tokenizer()
    weights = tiny_models.make_weights("xlm-roberta", VOCABULARY, 1)
    for name, values in weights.items():
        if values.ndim == 2 and "embeddings" not in name:  # as large as trained ones; so attention tells tokens apart
            values *= 0.3 if "query" in name or "key" in name else 0.1
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    config: dict[str, object] = {"model_type": "xlm-roberta", "architectures": ["XLMRobertaForSequenceClassification"]}
    config |= {"max_position_embeddings": SIZES["POSITIONS"], "pad_token_id": 1, "vocab_size": VOCABULARY}
    config |= {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "onnx").mkdir()
    graph = tiny_models.make_onnx("xlm-roberta", weights, 1)
    weights.clear()
    onnx.save(graph, folder / "onnx" / "model.onnx", save_as_external_data=True, location="model.onnx.data")


def step(name: str, folder: Path) -> dict[str, object]:
    """Run one step in this process; return its figures."""
    figures: dict[str, object] = {}
    if name == "write":
        write_model(folder / "float32")
        return figures
    started = time.process_time()
    if name == "quantize":
        report = quantize(str(folder / "float32"), folder / "int8")
        figures |= {"float32_mb": round(report.float32_size / 1e6), "int8_mb": round(sum(report.files.values()) / 1e6)}
        figures |= {"left_in_float32": len(report.left_in_float32), "wall_seconds": round(report.seconds)}
    else:
        reranker = CrossEncoderReranker(folder / name, backend="onnx")
        reranker.rank(QUERY, ["a document"])
        figures["loaded_mb"] = peak_mb()
        started = time.process_time()
        reranker.rank(QUERY, texts(PAIRS, words=80, spread=5, seed=0))
    return figures | {"processor_seconds": round(time.process_time() - started, 1), "peak_mb": peak_mb()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--step", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        print(json.dumps(step(options.step[0], Path(options.step[1]))))
        return
    found = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name in ("write", "quantize", "float32", "int8"):
            command = [sys.executable, __file__, "--step", name, scratch]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            found[name] = json.loads(done.stdout)
    del found["write"]
    for name, figures in found.items():
        what = name if name == "quantize" else f"rank {PAIRS} documents in {name}"
        table([[what, ""], *([key.replace("_", " "), value] for key, value in figures.items())])
    write("quantize-large", {"pairs": PAIRS, **found})


if __name__ == "__main__":
    main()
