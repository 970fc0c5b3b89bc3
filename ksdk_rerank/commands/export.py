"""`ksdk-rerank export`: convert a cross-encoder to ONNX files."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

__all__ = ["add"]


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the `export` command to the parser."""
    parser = commands.add_parser(
        "export",
        help="convert a cross-encoder to a folder of ONNX files",
        description="Convert a cross-encoder to ONNX files in float32 and int8, which run without torch. Exporting"
        ' itself needs torch: pip install "ksdk-rerank[torch]".',
    )
    parser.add_argument("model", help="a hub id or a folder: a cross-encoder with one logit")
    parser.add_argument("folder", type=Path, help="the folder to write to; it must be new or empty")
    parser.add_argument("--revision", help="branch, tag or commit of the model on the hub")
    parser.add_argument("--label", help="the label that means relevant, if the model has several; by name or index")
    parser.add_argument("--json", action="store_true", help="write JSON, for scripts")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    from ksdk_rerank.commands.quantize import told
    from ksdk_rerank.commands.terminal import show, write, write_json
    from ksdk_rerank.engines.export import export

    label = int(options.label) if (options.label or "").isdecimal() else options.label
    report = export(options.model, options.folder, revision=options.revision, label=label)
    if options.json:
        write_json({**dataclasses.asdict(report), "folder": str(report.folder)})
        return
    write(f"Wrote {options.model} to {report.folder}")
    write()
    show(["file", "MB"], [[file, f"{size / 1e6:.3f}"] for file, size in report.files.items()], texts={"file"})
    write()
    write(f"On a few pairs, logits of model.onnx differ from torch's by at most {report.max_difference:.1e}.")
    write(told(report.int8))
    write(f"To measure the effect on your own documents: ksdk-rerank compare --reranker {report.folder} ...")
