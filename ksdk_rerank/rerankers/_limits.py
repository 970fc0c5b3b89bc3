"""The limits of one request: longer texts are truncated, and more documents are split over several requests."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from ksdk_rerank.results import total_usage
from ksdk_rerank.scores import Scores

__all__ = ["Limits", "merged", "shortened"]

_OTHER_FIELDS = 1000  # maximum bytes of a request's other fields, besides the query and the documents


@dataclass(frozen=True, slots=True)
class Limits:
    """The documented limits of a service; None means no limit.

    Attributes:
        documents: maximum documents per request, unless the user sets another.
        characters: maximum characters per query or document.
        request_bytes: maximum bytes per request body.
        request_tokens: maximum tokens per request, where each document counts together with the query. A character is
            counted as a token, which overestimates nearly every text.
    """

    documents: int | None = None
    characters: int | None = None
    request_bytes: int | None = None
    request_tokens: int | None = None

    def split(self, query: str, documents: Sequence[str], most: int) -> list[list[str]]:
        """`documents` in order, as one list per request, each with at most `most` documents and within the limits.

        A document that exceeds a limit on its own still gets a request.
        """
        bytes_left = None if self.request_bytes is None else self.request_bytes - _size(query) - _OTHER_FIELDS
        parts: list[list[str]] = [[]]
        used_bytes = used_tokens = 0
        for document in documents:
            size = 0 if bytes_left is None else _size(document)
            tokens = len(query) + len(document)
            is_full = (
                len(parts[-1]) == most
                or (bytes_left is not None and used_bytes + size > bytes_left)
                or (self.request_tokens is not None and used_tokens + tokens > self.request_tokens)
            )
            if is_full and parts[-1]:
                parts.append([])
                used_bytes = used_tokens = 0
            parts[-1].append(document)
            used_bytes += size
            used_tokens += tokens
        return parts


def shortened(text: str, characters: int | None) -> tuple[str, bool]:
    """`text` truncated to `characters` if given, and whether more than outer white space is lost."""
    if characters is None or len(text) <= characters:
        return text, False
    text = text.strip()  # so that the rest is not blank
    return text[:characters], len(text) > characters


def _size(text: str) -> int:
    """The bytes that `text` takes in a JSON request, with its quotes and a separator."""
    return len(json.dumps(text, ensure_ascii=False).encode(errors="replace")) + 2


def merged(parts: Sequence[Scores]) -> Scores:
    """The scores of a split call, from those of its requests in order. Usage is summed."""
    return Scores(
        [score for part in parts for score in part.raw],
        usage=total_usage(part.usage for part in parts),
        truncated=sum(part.truncated for part in parts),
        spans=[own for part in parts for own in part.spans],
    )
