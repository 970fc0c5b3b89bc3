"""The `ksdk-rerank` command: try reranking, measure it, use it from a shell, export models, and report a problem."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from ksdk_rerank._version import __version__
from ksdk_rerank.commands import compare, demo, doctor, export, quantize, rank, search
from ksdk_rerank.commands.options import Parser
from ksdk_rerank.commands.streams import flush_output, print_error, usable_streams, warnings_on_stderr
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
    with usable_streams(), warnings_on_stderr():
        try:
            return _run(arguments)
        except KeyboardInterrupt:
            flush_output()
            return 130


def _run(arguments: Sequence[str] | None) -> int:
    raised: Exception | SystemExit | None = None
    status = 1
    try:
        options = _parser().parse_args(arguments)
        status = options.run(options) or 0
    except (RerankError, ValueError, OSError, SystemExit) as error:  # SystemExit: --help, --version and wrong usage
        raised = error
    lost = flush_output()
    if isinstance(lost, BrokenPipeError) or isinstance(raised, BrokenPipeError):  # the reader, such as `head`, is done
        return 1
    if lost is not None:
        print_error(f"standard output cannot be written: {lost.strerror or lost}")
        return 1
    if isinstance(raised, SystemExit):
        raise raised
    if raised is not None:
        print_error(str(raised))
    return status


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="ksdk-rerank", description="Put the documents that answer a question first.")
    parser.add_argument("--version", action="version", version=f"ksdk-rerank {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (demo, search, rank, compare, export, quantize, doctor):
        command.add(commands)
    return parser
