"""The command `ksdk-rerank`: see reranking at work, measure it, use it from a shell, and export models."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from ksdk_rerank import __version__
from ksdk_rerank.commands import compare, rank, search
from ksdk_rerank.errors import RerankError

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with `arguments` (by default the process's own) and return its exit status.

    0 is success, 1 a failure that is explained on standard error, 2 wrong usage.
    """
    options = _parser().parse_args(arguments)
    try:
        status = options.run(options)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read our output has had enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (RerankError, ValueError, OSError) as error:
        print(f"ksdk-rerank: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return status or 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ksdk-rerank", description="Candidates in, best order out.")
    parser.add_argument("--version", action="version", version=f"ksdk-rerank {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    demo = commands.add_parser("demo", help="search, rerank and show both orders side by side")
    demo.add_argument("--question", help="what to ask (default: a question about the sample knowledge base)")
    source = demo.add_mutually_exclusive_group()
    source.add_argument("--docs", type=Path, metavar="FOLDER", help="search this folder of Markdown or text instead")
    source.add_argument("--live", action="store_true", help="search KnowledgeSDK itself (needs KNOWLEDGESDK_API_KEY)")
    demo.add_argument(
        "--reranker", default="lexical", metavar="NAME", help="a name of load_reranker (default: lexical)"
    )
    demo.add_argument("--limit", type=int, default=20, help="candidates to search for (default: 20)")
    demo.add_argument("--top-n", type=int, default=5, help="documents to keep (default: 5)")
    demo.set_defaults(run=_demo)

    for command in (search, rank, compare):
        command.add(commands)

    export = commands.add_parser("export", help="write a cross-encoder as a folder that the onnx engine reads")
    export.add_argument("model", help="hub id or folder of a cross-encoder with one logit")
    export.add_argument("folder", type=Path, help="where to write; must not exist or be empty")
    export.add_argument("--revision", help="branch, tag or commit of the model on the hub")
    export.set_defaults(run=_export)
    return parser


def _demo(options: argparse.Namespace) -> None:
    from ksdk_rerank.demo import run_demo

    run_demo(
        question=options.question,
        docs=options.docs,
        live=options.live,
        reranker=options.reranker,
        limit=options.limit,
        top_n=options.top_n,
        write=print,
    )


def _export(options: argparse.Namespace) -> None:
    from ksdk_rerank.engines.export import export

    report = export(options.model, options.folder, revision=options.revision)
    print(report)
