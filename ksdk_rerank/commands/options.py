"""The parser of the commands, and the option that several of them share."""

from __future__ import annotations

import argparse
from typing import Any

from ksdk_rerank.loading import reranker_names

__all__ = ["Parser", "add_reranker", "as_text"]


class Parser(argparse.ArgumentParser):
    """A parser whose help lists the reranker names, if it has the option `--reranker`."""

    def format_help(self) -> str:
        """The help text. Only now are the installed packages scanned for further names."""
        if "--reranker" in self.format_usage():
            self.epilog = f"Rerankers: {reranker_names()}."
        return super().format_help()


def add_reranker(parser: argparse.ArgumentParser, more: str = "", **options: Any) -> None:
    """Add the option `--reranker`. `more` continues its help text."""
    which = (
        "which reranker to use, by one of the names below (default: embedded if onnxruntime is installed, else lexical)"
    )
    parser.add_argument("--reranker", metavar="NAME", help=which + more, **options)


def as_text(argument: str) -> str:
    """Decode a question from the command line; bytes that are invalid in the terminal's encoding are replaced."""
    return argument.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
