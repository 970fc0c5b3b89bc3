"""What a service takes in one request: texts that are longer are cut, and documents that are too many are split."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Limits"]

_OTHER_FIELDS = 1000  # bytes of a request beside its query and documents, at most


@dataclass(frozen=True, slots=True)
class Limits:
    """The documented limits of a service; None means that there is none.

    Attributes:
        characters: of a query or a document.
        request_bytes: of the body of a request.
    """

    characters: int | None = None
    request_bytes: int | None = None

    def cut(self, text: str) -> tuple[str, bool]:
        """`text` in the length that the service accepts, and whether any of it is lost."""
        if self.characters is None or len(text) <= self.characters:
            return text, False
        text = text.strip()  # so that what is left is not blank
        return text[: self.characters], len(text) > self.characters

    def split(self, query: str, documents: Sequence[str], most: int) -> list[list[str]]:
        """`documents` as one list a request, in their order, with at most `most` in each."""
        room = None if self.request_bytes is None else self.request_bytes - _size(query) - _OTHER_FIELDS
        parts: list[list[str]] = [[]]
        used = 0
        for document in documents:
            size = 0 if room is None else _size(document)
            is_full = len(parts[-1]) == most or (room is not None and used + size > room)
            if is_full and parts[-1]:
                parts.append([])
                used = 0
            parts[-1].append(document)
            used += size
        return parts


def _size(text: str) -> int:
    """The bytes of `text` in a request, with its quotes and a comma."""
    return len(json.dumps(text, ensure_ascii=False).encode(errors="replace")) + 2
