"""Reads input files line by line, so that errors can name file and line."""

from __future__ import annotations

import gzip
import json
import os
import reprlib
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TypeGuard

from ksdk_rerank._text.text_files import BYTE_ORDER_MARKS
from ksdk_rerank.evaluation.ids import id_of

__all__ = ["Line", "is_text", "lines_of", "quoted"]

_LONGEST = 64_000_000  # bytes per line; a longer one comes from a file without line ends, such as a device

_brief = reprlib.Repr()
_brief.maxstring = _brief.maxother = _brief.maxlong = 80
quoted = _brief.repr
"""`repr`, truncated to about 80 characters."""


class Line:
    """One line of a file, with the file's name and the line number."""

    def __init__(self, file: str, number: int, raw: bytes) -> None:
        self.file = file
        self.number = number
        self._raw = raw
        self._fields: dict[str, object] | None = None

    def wrong(self, what: str) -> ValueError:
        """A `ValueError` with file, line and what is wrong."""
        return _wrong(self.file, self.number, what)

    @property
    def text(self) -> str:
        """The line as text, without its end."""
        try:
            text = self._raw.decode().strip("\r\n")
        except UnicodeDecodeError as error:
            raise self.wrong(f"not valid UTF-8 ({error.reason}); save the file as UTF-8") from error
        if "\0" in text:
            raise self.wrong("not UTF-8 text (it contains null characters); save the file as UTF-8")
        return text

    @property
    def fields(self) -> dict[str, object]:
        """The JSON object in this line, parsed once."""
        if self._fields is not None:
            return self._fields
        text = self.text
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise self.wrong(f"not valid JSON ({error}); write one JSON object per line") from error
        if not isinstance(value, dict):
            raise self.wrong(f"expected a JSON object, got {text[:40]!r}; write one JSON object per line")
        self._fields = value
        return value

    def id_in(self, *names: str) -> str:
        """The id under the first of `names` that is present."""
        return id_of(self.text_in(*names).strip())

    def text_in(self, *names: str) -> str:
        """The text under the first of `names` that is present; it must not be blank."""
        name = next((name for name in names if name in self.fields), None)
        if name is None:
            raise self.wrong(f"{' or '.join(map(repr, names))} is missing; add it")
        value = self.fields[name]
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if not is_text(value):
            raise self.wrong(f"{name!r} must be text, got {quoted(value)}")
        return value


def is_text(value: object) -> TypeGuard[str]:
    """Whether `value` is a usable text: a string that is not blank and has no lone surrogates."""
    return isinstance(value, str) and bool(value.strip()) and not any("\ud800" <= each <= "\udfff" for each in value)


def lines_of(path: str | os.PathLike[str]) -> Iterator[Line]:
    """Yield the non-blank lines of a file; `.gz` files are decompressed.

    The encoding is UTF-8 unless a byte order mark states another.

    Raises:
        ValueError: a line is too long, or the file cannot be decoded or decompressed. Invalid UTF-8 raises only when
            the line's text is read. The message gives file and line.
        OSError: the file cannot be opened.
    """
    file, number = Path(path), 0
    opened: IO[bytes] = gzip.open(file) if file.suffix == ".gz" else file.open("rb")  # type: ignore[assignment]  # noqa: SIM115
    with opened as source:
        try:
            for number, raw in enumerate(_raw_lines(source), start=1):
                if len(raw) > _LONGEST:
                    raise _wrong(path, number, "the line is longer than 64 MB; name a text file")
                if raw.strip():
                    yield Line(str(path), number, raw)
        except UnicodeDecodeError as error:
            what = f"not valid {error.encoding} ({error.reason}); save the file as UTF-8"
            raise _wrong(path, 1, what) from error
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            what = f"the file cannot be decompressed ({error}); download it again"
            raise _wrong(path, number + 1, what) from error


def _wrong(path: str | os.PathLike[str], number: int, what: str) -> ValueError:
    return ValueError(f"{path}:{number}: {what}")


def _raw_lines(source: IO[bytes]) -> Iterator[bytes]:
    """Yield the raw lines as UTF-8, without the byte order mark."""
    first = source.readline(_LONGEST + 1)
    mark, encoding = next(((mark, name) for mark, name in BYTE_ORDER_MARKS if first.startswith(mark)), (b"", "utf-8"))
    if encoding == "utf-8":
        yield first[len(mark) :]
        yield from iter(lambda: source.readline(_LONGEST + 1), b"")
    else:
        yield from (first[len(mark) :] + source.read()).decode(encoding).encode().splitlines(keepends=True)
