"""Turns passages of a document into one short text for a prompt."""

from __future__ import annotations

from collections.abc import Sequence

from ksdk_rerank._text.passages import Span, blocks_of, merged

__all__ = ["excerpt"]

_ELLIPSIS = "…"
_SEARCHED = 32_768
"""Characters before the end of the last passage in which headings are looked for: about 20 milliseconds."""


def excerpt(text: str, spans: Sequence[Span]) -> str:
    """The passages `spans` of `text` in document order, below their headings, with an ellipsis for what is left out.

    Passages with nothing but white space between them are joined with it. The headings above a passage are kept, and so
    is the header of its table. Without spans, the whole text is returned.
    """
    if not spans:
        return text
    kept = merged(spans)
    end = kept[-1][1]
    blocks = blocks_of(text, (max(0, end - _SEARCHED), end))
    lines = [line for block in blocks if _overlaps(block.span, kept) for line in block.context]
    parts: list[str] = []
    before = None
    for start, stop in merged([*kept, *lines]):
        if before is not None:
            gap = text[before:start]
            parts.append(_shortened(gap) if gap.strip() else gap)
        parts.append(text[start:stop])
        before = stop
    return "".join(parts)


def _overlaps(span: Span, others: Sequence[Span]) -> bool:
    return any(span[0] < end and start < span[1] for start, end in others)


def _shortened(gap: str) -> str:
    """An ellipsis for `gap`, with the white space at both of its ends."""
    before, after = len(gap) - len(gap.lstrip()), len(gap.rstrip())
    return f"{gap[:before]}{_ELLIPSIS}{gap[after:]}"
