"""Lines of input files with their places, so that an error can say where it is."""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TypeGuard

__all__ = ["Line", "is_text", "lines_of"]


class Line:
    """One line of a file, and which."""

    def __init__(self, file: str, number: int, text: str) -> None:
        self.file = file
        self.number = number
        self.text = text
        self._fields: dict[str, object] | None = None

    def wrong(self, what: str) -> ValueError:
        """The error that says what is wrong with this line."""
        return ValueError(f"{self.file}:{self.number}: {what}")

    @property
    def fields(self) -> dict[str, object]:
        """The JSON object in this line."""
        if self._fields is not None:
            return self._fields
        try:
            value = json.loads(self.text)
        except (ValueError, RecursionError) as error:
            raise self.wrong(f"this is not JSON ({error}); write one JSON object a line") from error
        if not isinstance(value, dict):
            raise self.wrong(f"this is not a JSON object but {self.text[:40]!r}; write one JSON object a line")
        self._fields = value
        return value

    def text_in(self, *names: str) -> str:
        """The text under the first of `names` that is there; it must not be blank."""
        name = next((name for name in names if name in self.fields), None)
        if name is None:
            raise self.wrong(f"there is no {' or '.join(map(repr, names))}; add it")
        value = self.fields[name]
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if not is_text(value):
            raise self.wrong(f"{name!r} is {value!r}, not a text; correct it")
        return value

    def integer(self, text: str, what: str) -> int:
        """`text` as an integer, as trec_eval writes grades and ranks."""
        try:
            return int(text)
        except ValueError:
            raise self.wrong(f"{what} is {text!r}, not an integer; correct it") from None


def is_text(value: object) -> TypeGuard[str]:
    """Whether `value` says something: a string that is not blank, and without halves of characters (surrogates)."""
    return isinstance(value, str) and bool(value.strip()) and not any("\ud800" <= each <= "\udfff" for each in value)


def lines_of(path: str | os.PathLike[str]) -> Iterator[Line]:
    """The lines of a UTF-8 file that are not blank; `.gz` files are unpacked.

    Raises `ValueError` with file and line where it is not UTF-8, and `OSError` where it cannot be read.
    """
    file = Path(path)
    with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as source:
        number = 0
        try:
            for number, raw in enumerate(source, start=1):
                text = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip("\r\n")
                if text.strip():
                    yield Line(str(path), number, text)
        except UnicodeDecodeError as error:
            raise Line(str(path), number, "").wrong(f"this is not UTF-8 ({error.reason}); save it as UTF-8") from error
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise Line(str(path), number + 1, "").wrong(f"this cannot be unpacked ({error}); fetch it again") from error
