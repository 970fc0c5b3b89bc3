"""The parser of the commands, and the option that several of them share."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from ksdk_rerank.loading import reranker_names

__all__ = ["Parser", "add_reranker", "as_text", "configured"]


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
        "one of the names listed below, or a .json file with a configuration (default: embedded if onnxruntime is"
        " installed, else lexical)"
    )
    parser.add_argument("--reranker", metavar="NAME", help=which + more, **options)


def configured(reranker: str) -> str | dict[str, object]:
    """The value of `--reranker` as `load_reranker` takes it: a name, or the configuration in a .json file.

    Raises:
        ValueError: the file cannot be read, or is not a JSON object.
    """
    if not reranker.endswith(".json"):
        return reranker
    try:
        config = json.loads(Path(reranker).read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"--reranker {reranker} cannot be read: {error}") from error
    if not isinstance(config, dict):
        raise ValueError(
            f"--reranker {reranker} is not a configuration; write an object such as"
            ' {"class": "CrossEncoderReranker", "parameters": {"model": "...", "instruction": "..."}}'
        )
    return config


def as_text(argument: str) -> str:
    """Decode a question from the command line; bytes that are invalid in the terminal's encoding are replaced."""
    return argument.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
