"""`ksdk-rerank quantize`: write an int8 copy of a model's float32 ONNX file, without torch."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ksdk_rerank.engines.quantize import Agreement

__all__ = ["add", "told"]

_WORDS = 8
"""How many of a document's first words are its query, if the file has no queries."""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the `quantize` command to the parser."""
    parser = commands.add_parser(
        "quantize",
        help="write an int8 copy of a model's float32 ONNX file, without torch",
        description="Write an int8 copy of a model's float32 ONNX file, and report how close its scores are.",
    )
    parser.add_argument("model", help="a hub id or a folder: a cross-encoder with a float32 ONNX file")
    parser.add_argument("folder", type=Path, help="the folder to write to; it must be new or empty")
    parser.add_argument(
        "--texts",
        metavar="FILE",
        help='texts to calibrate on, one per line: a document, or a JSON object with "query" and "document" (default:'
        " texts in this package)",
    )
    parser.add_argument("--revision", help="branch, tag or commit of the model on the hub")
    parser.add_argument("--json", action="store_true", help="write JSON, for scripts")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    from ksdk_rerank.commands.terminal import show, write, write_json
    from ksdk_rerank.engines.quantize import quantize

    texts = None if options.texts is None else _texts(options.texts)
    report = quantize(options.model, options.folder, texts=texts, revision=options.revision)
    if options.json:
        write_json({**dataclasses.asdict(report), "folder": str(report.folder)})
        return
    write(f"Wrote {options.model} to {report.folder} in {report.seconds:.0f} s")
    write()
    show(["file", "MB"], [[file, f"{size / 1e6:.3f}"] for file, size in report.files.items()], texts={"file"})
    write()
    write(f"The float32 file has {report.float32_size / 1e6:.3f} MB.")
    write(told(report.agreement))
    if report.left_in_float32:
        write(f"{len(report.left_in_float32)} matrix products stay in float32: int8 would change them too much.")
    write(f"To measure the effect on your own documents: ksdk-rerank compare --reranker {report.folder} ...")


def told(agreement: Agreement) -> str:
    """How close int8 is to float32, as a sentence."""
    return (
        f"On {agreement.pairs} pairs not used for calibration, int8 logits differ from float32's by"
        f" {agreement.mean_difference:.2f} on average and by at most {agreement.max_difference:.2f}; Kendall's tau"
        f" between the two orders is {agreement.kendall:.3f}."
    )


def _texts(file: str) -> list[tuple[str, str]]:
    from ksdk_rerank.evaluation.input_lines import lines_of

    pairs = []
    for line in lines_of(file):
        if line.text.lstrip().startswith("{"):
            pairs.append((line.text_in("query"), line.text_in("document", "text")))
        else:
            pairs.append((" ".join(line.text.split()[:_WORDS]), line.text))
    return pairs
