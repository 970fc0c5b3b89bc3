"""`ksdk-rerank demo`: show one question's results before and after reranking, side by side."""

from __future__ import annotations

import argparse
from pathlib import Path

from ksdk_rerank.commands.streams import asked

__all__ = ["add"]


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the `demo` command to the parser."""
    parser = commands.add_parser("demo", help="search, rerank and show both orders side by side")
    parser.add_argument(
        "--question", type=asked, help="what to ask (default: a question about the sample knowledge base)"
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--docs", type=Path, metavar="FOLDER", help="search this folder of Markdown or text instead")
    source.add_argument("--live", action="store_true", help="search KnowledgeSDK itself (needs KNOWLEDGESDK_API_KEY)")
    parser.add_argument(
        "--reranker", metavar="NAME", help="a name of load_reranker (default: embedded where it can run, else lexical)"
    )
    parser.add_argument("--limit", type=int, default=20, help="candidates to search for (default: 20)")
    parser.add_argument("--top-n", type=int, default=5, help="documents to keep (default: 5)")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    from ksdk_rerank.commands.terminal import write
    from ksdk_rerank.demo import run_demo

    run_demo(
        question=options.question,
        docs=options.docs,
        live=options.live,
        reranker=options.reranker,
        limit=options.limit,
        top_n=options.top_n,
        write=write,
    )
