"""The command `ksdk-rerank`: see reranking at work, measure it, use it from a shell, and export models."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from ksdk_rerank import __version__
from ksdk_rerank.commands import compare, demo, export, rank, search
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
        from ksdk_rerank.evaluation.tables import clean

        print(f"ksdk-rerank: {clean(str(error))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return status or 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ksdk-rerank", description="Candidates in, best order out.")
    parser.add_argument("--version", action="version", version=f"ksdk-rerank {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (demo, search, rank, compare, export):
        command.add(commands)
    return parser
