"""The `ksdk-rerank` command: try reranking, measure it, use it from a shell, and export models."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from ksdk_rerank._version import __version__
from ksdk_rerank.commands import compare, demo, export, rank, search
from ksdk_rerank.commands.streams import complain, flushed, prepared, warnings_told
from ksdk_rerank.errors import RerankError

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with `arguments` (by default the process's own) and return its exit status.

    The status is 0 on success, 1 on a failure, which standard error explains, 2 on wrong usage and 130 on Ctrl-C. If
    the reader of standard output exits early, the status is 1 and nothing is printed. Standard output and error replace
    characters that they cannot encode.

    Raises:
        SystemExit: after `--help` and `--version` (0), and after wrong usage (2).
    """
    with prepared(), warnings_told():
        try:
            return _run(arguments)
        except KeyboardInterrupt:
            flushed()
            return 130


def _run(arguments: Sequence[str] | None) -> int:
    status, failed = 1, None
    ended: SystemExit | None = None
    try:
        options = _parser().parse_args(arguments)
        status = options.run(options) or 0
    except (RerankError, ValueError, OSError) as error:
        failed = error
    except SystemExit as end:  # after --help, --version and wrong usage
        ended = end
    lost = flushed()
    if isinstance(lost, BrokenPipeError) or isinstance(failed, BrokenPipeError):  # the reader, such as `head`, is done
        return 1
    if lost is not None:
        complain(f"standard output cannot be written: {lost.strerror or lost}")
        return 1
    if ended is not None:
        raise ended
    if failed is not None:
        complain(str(failed))
        return 1
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ksdk-rerank", description="Candidates in, best order out.")
    parser.add_argument("--version", action="version", version=f"ksdk-rerank {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (demo, search, rank, compare, export):
        command.add(commands)
    return parser
