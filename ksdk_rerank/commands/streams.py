"""Lets a command end cleanly when a standard stream is full, closed, missing or cannot encode a text."""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO, cast

from ksdk_rerank._text.columns import one_line

__all__ = ["flush_output", "print_error", "usable_streams", "warnings_on_stderr"]


@contextmanager
def usable_streams() -> Iterator[None]:
    """Open missing streams on the null device, and let output and error replace characters they cannot encode.

    If a process starts with a closed stream, the next file it opens would otherwise get that stream's descriptor.
    """
    given = sys.stdin, sys.stdout, sys.stderr
    for name, flags, mode in (("stdin", os.O_RDONLY, "r"), ("stdout", os.O_WRONLY, "w"), ("stderr", os.O_WRONLY, "w")):
        stream: TextIO | None = getattr(sys, name)
        if stream is None or getattr(stream, "closed", False):
            setattr(sys, name, _on(os.open(os.devnull, flags), mode, "utf-8"))
    if isinstance(getattr(sys.stdout, "buffer", None), io.RawIOBase):  # PYTHONUNBUFFERED: a write error shows only once
        with suppress(OSError):
            sys.stdout = _on(sys.stdout.fileno(), "w", sys.stdout.encoding)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        yield
    finally:
        sys.stdin, sys.stdout, sys.stderr = given


def _on(descriptor: int, mode: str, encoding: str) -> TextIO:
    return cast(TextIO, open(descriptor, mode, encoding=encoding, closefd=False))


def flush_output() -> OSError | None:
    """Flush standard output. If that fails, return the error and discard the rest of the output."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError) as error:  # ValueError: something closed it
        _discard(sys.stdout)
        return error if isinstance(error, OSError) else OSError(str(error))
    return None


def print_error(message: str) -> None:
    """Write one line to standard error if possible."""
    try:
        sys.stderr.write(f"ksdk-rerank: {one_line(message)}\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        _discard(sys.stderr)


@contextmanager
def warnings_on_stderr() -> Iterator[None]:
    """Print the library's warnings to standard error, one per line."""
    handler, log = _OneLineHandler(logging.WARNING), logging.getLogger("ksdk_rerank")
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)


class _OneLineHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        print_error(record.getMessage())


def _discard(stream: TextIO) -> None:
    """Redirect what `stream` still buffers to the null device, because the interpreter flushes it again at exit."""
    with suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(null, stream.fileno())
        finally:
            os.close(null)
