"""Reads text files of any encoding and name, and reports those that are skipped or decoded by a guess."""

from __future__ import annotations

import codecs
import logging
import os
import stat
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from pathlib import Path, PurePosixPath

__all__ = ["BYTE_ORDER_MARKS", "decoded", "printable", "read_text", "texts_below"]

_log = logging.getLogger("ksdk_rerank")

BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, because its mark begins with UTF-16's
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
"""Byte order marks and the encodings they announce. https://www.unicode.org/faq/utf_bom#bom4, read 2026-11-26."""

_BINARY = (
    b"\x89PNG",
    b"\xff\xd8\xff",
    b"GIF8",
    b"%PDF-",
    b"PK\x03\x04",
    b"\x1f\x8b",
    b"BZh",
    b"\xfd7zXZ",
    b"7z\xbc\xaf",
    b"Rar!",
    b"\x7fELF",
    b"\xd0\xcf\x11\xe0",
    b"OggS",
    b"SQLite format 3\0",
)  # first bytes of well-known binary formats
_CONTROL = [chr(code) for code in (*range(32), *range(127, 160)) if chr(code) not in "\t\n\v\f\r\x1b\x85"]
_MOST_CONTROL = 0.1  # maximum share of control characters in a text; random bytes have about as many
_MOST_CONTROL_IN_A_GUESS = 0.01
_LARGEST = 100_000_000  # bytes per file; the index is in memory
_NAMED = 5  # files of each kind named in the warning


def texts_below(folder: Path, suffixes: Collection[str]) -> Iterator[tuple[PurePosixPath, str]]:
    """Yield the relative names and texts of the files below `folder` with one of `suffixes`, in order.

    Hidden files and folders are left out, and links to folders are not followed. Files that cannot be read as text are
    skipped. One warning at the end names the files that were skipped, and those whose encoding was guessed.
    """
    odd = defaultdict[str, list[str]](list)

    def unreadable(error: OSError) -> None:
        odd["skipped"].append(f"{_relative(error.filename, folder)} ({error.strerror})")

    for path in _files(folder, suffixes, unreadable):
        name = _relative(path, folder)
        try:
            if not stat.S_ISREG(path.stat().st_mode):  # a pipe, socket or device may block or never end
                raise ValueError("not a regular file")
            text, remark = read_text(path)
        except (OSError, ValueError) as error:
            odd["skipped"].append(f"{name} ({getattr(error, 'strerror', None) or error})")
        else:
            if remark:
                odd["decoded by a guess"].append(f"{name} ({remark})")
            yield PurePosixPath(name), text
    if odd:
        summary = "; ".join(f"{len(names)} {what}: {_some(names)}" for what, names in odd.items())
        _log.warning("files in %s that are not UTF-8 text: %s", printable(folder), summary)


def read_text(path: Path) -> tuple[str, str]:
    """The text of a file, and how it was decoded if that is a guess, else "".

    Raises `OSError`, or `ValueError` with the reason, such as "binary".
    """
    with path.open("rb") as file:
        data = file.read(_LARGEST + 1)
    if len(data) > _LARGEST:
        raise ValueError(f"larger than {_LARGEST // 1_000_000} MB")
    return decoded(data)


def decoded(data: bytes) -> tuple[str, str]:
    """`data` as text with line feeds between lines, and how it was decoded if that is a guess, else "".

    A byte order mark decides the encoding. Without one, null bytes mean UTF-16. Everything else is UTF-8, or
    Windows-1252 if most characters beyond ASCII are not valid UTF-8, or Latin-1 if Windows-1252 does not define a byte.
    Raises `ValueError` if the data is binary.
    """
    text, remark = _decoded(data)
    announced = not remark or data.startswith(tuple(mark for mark, _ in BYTE_ORDER_MARKS))
    if sum(map(text.count, _CONTROL)) > (_MOST_CONTROL if announced else _MOST_CONTROL_IN_A_GUESS) * len(text):
        raise ValueError("binary")
    return text.replace("\r\n", "\n").replace("\r", "\n"), remark


def _decoded(data: bytes) -> tuple[str, str]:
    if data.startswith(_BINARY):
        raise ValueError("binary")
    for mark, encoding in BYTE_ORDER_MARKS:
        if data.startswith(mark):
            return _replacing(data[len(mark) :], encoding)
    if b"\0" in data:
        return _utf_16(data)
    text, remark = _replacing(data, "utf-8")
    beyond_ascii = len(text) - len(text.encode("ascii", "ignore"))
    if not remark or 2 * text.count("\ufffd") <= beyond_ascii:  # damaged UTF-8, but mostly valid
        return text, remark
    try:
        return data.decode("cp1252"), "as Windows-1252"
    except UnicodeDecodeError:  # five bytes are undefined there
        return data.decode("latin-1"), "as Latin-1"


def _replacing(data: bytes, encoding: str) -> tuple[str, str]:
    try:
        return data.decode(encoding), ""
    except UnicodeDecodeError:
        return data.decode(encoding, "replace"), f"as {encoding.upper()}, with replacements"


def _utf_16(data: bytes) -> tuple[str, str]:
    """Decode UTF-16 without a mark. The half of the byte pairs with more null bytes gives the byte order."""
    little = data[1::2].count(0) > data[::2].count(0)
    encoding = "utf-16-le" if little else "utf-16-be"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        raise ValueError("binary") from None
    if "\0" in text or any(unicodedata.category(each) in {"Cn", "Co"} for each in {*text}):
        raise ValueError("binary")
    return text, f"as {encoding.upper()}"


def _files(folder: Path, suffixes: Collection[str], unreadable: Callable[[OSError], None]) -> list[Path]:
    found = []
    for above, folders, names in os.walk(folder, onerror=unreadable):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [
            Path(above, name)
            for name in names
            if not name.startswith(".") and PurePosixPath(name).suffix.lower() in suffixes
        ]
    return sorted(found, key=lambda path: path.relative_to(folder).parts)


def _relative(path: str | os.PathLike[str], folder: Path) -> str:
    return printable(Path(path).relative_to(folder).as_posix())


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def printable(name: str | os.PathLike[str]) -> str:
    r"""A file's name as text that can be written anywhere: bytes that are not UTF-8 become `\xe9` and the like."""
    text = os.fspath(name)
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # Windows allows names with halves of surrogate pairs
        return text.encode("utf-8", "backslashreplace").decode("utf-8")
