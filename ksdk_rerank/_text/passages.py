"""Splits a text into passages: sentences, and the Markdown blocks that make no sense in parts.

Sentences come from sentencex (https://github.com/wikimedia/sentencex, 1.0.32, read 2026-11-26), Wikimedia's splitter
for some 300 languages: compiled, 1.2 MB, MIT, released every few weeks, and 20 MB of text take about a second. It knows
each language's abbreviations and the full stops of all scripts. The others that we tried: pysbd and blingfire have had
no release since 2021, syntok none since 2022. ICU is 16 MB and splits after "Dr.". wtpsplit needs a model of its own.

Blocks come from markdown-it-py, which rich depends on as well. Only its block rules run. Plain text is Markdown, too:
its paragraphs are split into sentences.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from ksdk_rerank._text.graphemes import next_boundary
from ksdk_rerank.errors import MissingExtra

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

__all__ = ["Block", "Passage", "Span", "blocks_of", "merged", "passages_of", "trimmed"]

Span = tuple[int, int]

_WHOLE = {"fence", "code_block", "html_block", "list_item_open", "tr_open"}
"""Markdown blocks that are never split. Table rows are passages of their own; their header is context."""
_LONGEST_HEADING = 200
"""Characters. Every passage below a heading is read together with it, so a longer one is treated as a paragraph."""
_LONGEST_SENTENCE = 1_000
"""Characters. What a paragraph has without a full stop, such as lines of a log, is cut at line ends or spaces."""

_LINE_END = re.compile(r"\r\n?|\n")  # as markdown-it-py counts lines
_WORD = re.compile(r"\w")
_SURROGATE = re.compile("[\ud800-\udfff]")
_WIDE_SPACE = re.compile(r"[^\S\x00-\x7f]")  # with one before a full stop, sentencex 1.0.32 panics


@dataclass(frozen=True, slots=True)
class Block:
    """A part of a Markdown document, and the lines that a reader needs along with it.

    Attributes:
        span: its place, as (start, end) in characters.
        context: the headings above it and the header of its table.
        is_prose: whether it may be split into sentences.
    """

    span: Span
    context: tuple[Span, ...]
    is_prose: bool


@dataclass(frozen=True, slots=True)
class Passage:
    """A sentence or a whole block: its span, and the `Block.context` that is read along with it."""

    span: Span
    context: tuple[Span, ...]

    def text_in(self, text: str) -> str:
        """The context and the passage, one below the other."""
        return "\n".join(text[start:end] for start, end in (*self.context, self.span))


def passages_of(text: str, language: str = "en", part: Span | None = None) -> list[Passage]:
    """The passages of `text`, or of a part of it, in order. They do not overlap, and leave out headings.

    Raises `MissingExtra` if a library for it is not installed.
    """
    try:
        from sentencex import segment
    except ImportError as error:
        raise MissingExtra.of("passages", "splitting into passages") from error
    text = _SURROGATE.sub("\ufffd", text)  # the same length, and encodable
    found = []
    for block in blocks_of(text, part):
        spans = [block.span]
        if block.is_prose:
            spans = _sentences(text, block.span, lambda prose: segment(language, _WIDE_SPACE.sub(" ", prose)))
        found += [Passage(span, block.context) for span in spans]
    return found


def blocks_of(text: str, part: Span | None = None) -> Iterator[Block]:
    """The blocks of `text`, or of a part of it, in order.

    They are paragraphs, code blocks, table rows, and list items with all that is in them. If the text begins with a
    short paragraph that ends without a full stop, that is a title: no block, but a heading.
    """
    first, last = part or (0, len(text))
    beginning = len(text) - len(text.lstrip())
    starts = [first, *(end.end() for end in _LINE_END.finditer(text, first, last)), last]

    def place(lines: Sequence[int]) -> Span:
        start, end = starts[lines[0]], starts[min(lines[1], len(starts) - 1)]
        return start, start + len(text[start:end].rstrip())  # the first line keeps its indentation

    headings: list[tuple[str, Span]] = []
    header: tuple[Span, ...] = ()
    for token in _outermost(_parser().parse(_SURROGATE.sub("\ufffd", text[first:last]))):
        assert token.map is not None
        if token.type == "thead_open":
            header = (place((token.map[0], token.map[0] + 2)),)  # with the line of dashes below it
            continue
        span = place(token.map)
        is_title = token.type == "paragraph_open" and span[0] <= beginning and text[span[1] - 1].isalnum()
        is_heading = token.type == "heading_open" and token.markup != "-"  # a line of dashes may end a section as well
        if (is_title or is_heading) and span[1] - span[0] <= _LONGEST_HEADING:
            level = "" if is_title else token.tag  # a title stands above h1
            headings = [*(each for each in headings if each[0] < level), (level, span)]
        elif span[0] < span[1]:
            above = tuple(span for _, span in headings)
            above += header if token.type == "tr_open" else ()
            yield Block(span, above, token.type not in _WHOLE)


def _outermost(tokens: Sequence[Token]) -> Iterator[Token]:
    """The tokens that begin a block, without those inside another one. Quotations are not blocks, but their parts."""
    inside: int | None = None  # the nesting level of the block being skipped
    for token in tokens:
        if inside is not None:
            inside = None if token.nesting == -1 and token.level == inside else inside
        elif token.type in _WHOLE or token.type in ("thead_open", "heading_open", "paragraph_open"):
            yield token
            inside = token.level if token.nesting == 1 else None


@cache
def _parser() -> MarkdownIt:
    try:
        from markdown_it import MarkdownIt
    except ImportError as error:
        raise MissingExtra.of("passages", "reading Markdown") from error
    parser = MarkdownIt("commonmark").enable("table").disable("reference")  # definitions of links are text, too
    parser.core.ruler.enableOnly(["normalize", "block"])
    return parser


def _sentences(text: str, block: Span, segment: Callable[[str], Sequence[str]]) -> list[Span]:
    found: list[Span] = []
    start = reached = block[0]
    for sentence in segment(text[slice(*block)]):
        reached += len(sentence)
        end = next_boundary(text, reached)
        while start < end:
            stop = end if end - start <= _LONGEST_SENTENCE else _cut(text, start, start + _LONGEST_SENTENCE)
            first, last = trimmed(text, start, stop)
            if found and not _WORD.search(text, first, last):
                found[-1] = (found[-1][0], last)  # a full stop or a quotation mark on its own
            elif first < last:
                found.append((first, last))
            start = stop
    return found


def _cut(text: str, start: int, most: int) -> int:
    """Where to end a piece of a long sentence: at the last line end before `most`, else a space, else anywhere."""
    space = max(text.rfind("\n", start, most), text.rfind("\r", start, most))
    if space <= start:
        space = text.rfind(" ", start, most)
    return next_boundary(text, most if space <= start else space + 1)


def trimmed(text: str, start: int, end: int) -> Span:
    """The span without leading and trailing white space."""
    part = text[start:end]
    stop = start + len(part.rstrip())
    return min(stop, next_boundary(text, start + len(part) - len(part.lstrip()))), next_boundary(text, stop)


def merged(spans: Sequence[Span]) -> list[Span]:
    """The characters in any of `spans`, as spans in order that do not overlap."""
    found: list[Span] = []
    for start, end in sorted(spans):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return found
