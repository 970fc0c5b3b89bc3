"""Lines of input files with their places, so that an error can say where it is."""

from __future__ import annotations

import gzip
import json
import os
import reprlib
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TypeGuard

from ksdk_rerank._text_files import MARKS
from ksdk_rerank.evaluation.ids import grade_of, id_of

__all__ = ["Line", "is_text", "lines_of", "shortened"]

_LONGEST = 64_000_000  # bytes in a line; a file without line ends, such as a device, is no file of lines

_brief = reprlib.Repr()
_brief.maxstring = _brief.maxother = _brief.maxlong = 80
shortened = _brief.repr
"""`repr`, but never long."""


class Line:
    """One line of a file, and which."""

    def __init__(self, file: str, number: int, raw: bytes) -> None:
        self.file = file
        self.number = number
        self._raw = raw
        self._text: str | None = None
        self._fields: dict[str, object] | None = None

    def wrong(self, what: str) -> ValueError:
        """The error that says what is wrong with this line."""
        return ValueError(f"{self.file}:{self.number}: {what}")

    @property
    def text(self) -> str:
        """The line as text, without its end."""
        if self._text is not None:
            return self._text
        try:
            text = self._raw.decode().strip("\r\n")
        except UnicodeDecodeError as error:
            raise self.wrong(f"this is not UTF-8 ({error.reason}); save it as UTF-8") from error
        if "\0" in text:
            raise self.wrong("this is not UTF-8 text (it has null characters); save it as UTF-8")
        self._text = text
        return text

    @property
    def fields(self) -> dict[str, object]:
        """The JSON object in this line."""
        if self._fields is not None:
            return self._fields
        text = self.text
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise self.wrong(f"this is not JSON ({error}); write one JSON object a line") from error
        if not isinstance(value, dict):
            raise self.wrong(f"this is not a JSON object but {text[:40]!r}; write one JSON object a line")
        self._fields = value
        return value

    def columns(self, *counts: int) -> list[str]:
        """The columns between tabs if there are as many as one of `counts`, else those between white space.

        Quotation marks around a column between tabs are those of whoever wrote the file, and are taken off.
        """
        columns = [_unquoted(column.strip()) for column in self.text.split("\t")]
        return columns if len(columns) in counts else self.text.split()

    @property
    def says_nothing(self) -> bool:
        """Whether the line is a comment, `# ...`, or holds white space of any sort only."""
        text = self.text.strip()
        return not text or text.startswith("#")

    def id_in(self, *names: str) -> str:
        """The id under the first of `names` that is there."""
        return id_of(self.text_in(*names).strip())

    def text_in(self, *names: str) -> str:
        """The text under the first of `names` that is there; it must not be blank."""
        name = next((name for name in names if name in self.fields), None)
        if name is None:
            raise self.wrong(f"there is no {' or '.join(map(repr, names))}; add it")
        value = self.fields[name]
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if not is_text(value):
            raise self.wrong(f"{name!r} is {shortened(value)}, not a text; correct it")
        return value

    def grade(self, text: str) -> int:
        """`text` as a grade, a whole number."""
        try:
            return grade_of(text)
        except ValueError as error:
            raise self.wrong(f"the grade is {shortened(text)}, {error}; correct it") from None

    def integer(self, text: str, what: str) -> int:
        """`text` as an integer, as trec_eval writes ranks."""
        try:
            return int(text)
        except ValueError:
            raise self.wrong(f"{what} is {shortened(text)}, not an integer; correct it") from None


def is_text(value: object) -> TypeGuard[str]:
    """Whether `value` says something: a string that is not blank, and without halves of characters (surrogates)."""
    return isinstance(value, str) and bool(value.strip()) and not any("\ud800" <= each <= "\udfff" for each in value)


def lines_of(path: str | os.PathLike[str]) -> Iterator[Line]:
    """The lines of a file that are not blank; `.gz` files are unpacked.

    The file is UTF-8, or what its byte order mark says. Reading a line's text raises `ValueError` with file and line if
    that is not so; a file that cannot be opened is an `OSError`.
    """
    file = Path(path)
    opened: IO[bytes] = gzip.open(file) if file.suffix == ".gz" else file.open("rb")  # type: ignore[assignment]  # noqa: SIM115
    with opened as source:
        number = 0
        try:
            for number, raw in enumerate(_raw_lines(source), start=1):
                if len(raw) > _LONGEST:
                    raise Line(str(path), number, b"").wrong("this line never ends; name a file of lines")
                if raw.strip():
                    yield Line(str(path), number, raw)
        except UnicodeDecodeError as error:
            raise Line(str(path), 1, b"").wrong(f"this is not {error.encoding} ({error.reason})") from error
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise Line(str(path), number + 1, b"").wrong(
                f"this cannot be unpacked ({error}); fetch it again"
            ) from error


def _raw_lines(source: IO[bytes]) -> Iterator[bytes]:
    """The lines as UTF-8."""
    first = source.readline(_LONGEST + 1)
    mark, encoding = next(((mark, name) for mark, name in MARKS if first.startswith(mark)), (b"", "utf-8"))
    if encoding == "utf-8":
        yield first[len(mark) :]
        yield from iter(lambda: source.readline(_LONGEST + 1), b"")
    else:
        yield from (first[len(mark) :] + source.read()).decode(encoding).encode().splitlines(keepends=True)


def _unquoted(column: str) -> str:
    if len(column) > 1 and column[0] == column[-1] == '"':
        return column[1:-1].replace('""', '"').strip()
    return column
