"""Full-text search over a folder of Markdown and text files: in-memory SQLite FTS5, ranked by BM25.

The index holds the terms from `_text.words`, so a search matches the same words, in any script, as the rest of the
package. FTS5 only adds English stemming.
"""

import hashlib
import re
import sqlite3
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from ksdk_rerank._text.text_files import texts_below
from ksdk_rerank._text.words import encodable, terms_of
from ksdk_rerank.concurrency.locks import Lock

__all__ = ["Chunk", "Hit", "SearchIndex", "chunks_of"]

_MARKDOWN = {".md", ".markdown"}
_SUFFIXES = {*_MARKDOWN, ".txt"}
_LONGEST = 1500  # characters per chunk, unless a single paragraph is longer
_FRONT_MATTER = re.compile(r"\A---\n.*?^---$", re.DOTALL | re.MULTILINE)
_LONGEST_HEADING = 1000  # characters; a longer line counts as text, since every title below would repeat it
_BLANK_LINES = re.compile(r"\n\s*\n")
_ACCENTS = re.compile("(?<=[a-z])[\u0300-\u036f]+")
_FENCE = re.compile(r"`{3,}+(?=[^`]*$)|~{3,}+")


@dataclass(frozen=True, slots=True)
class Chunk:
    """A section of a file, or part of a long section. `source` looks like `folder/file.md#section-slug`."""

    id: str
    title: str
    content: str
    source: str


@dataclass(frozen=True, slots=True)
class Hit:
    """A matching chunk. `score` is BM25: higher is better, no upper bound."""

    chunk: Chunk
    score: float


class SearchIndex:
    """Searches the `.md`, `.markdown` and `.txt` files below a folder, chunk by chunk.

    A byte order mark decides a file's encoding. Without one it is UTF-8 or, failing that, a guess: UTF-16 or
    Windows-1252. Hidden files and folders are ignored. Unreadable files, such as binary ones, are skipped; one warning
    from the logger `ksdk_rerank` names them and the guesses. Safe to share between threads.

    Raises `FileNotFoundError` or `NotADirectoryError` for a bad folder, and `ValueError` if the files hold no text.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.exists():
            raise FileNotFoundError(f"{folder} does not exist: pass a folder of Markdown or text files")
        if not folder.is_dir():
            raise NotADirectoryError(f"{folder} is a file: pass the folder that contains it")
        self._chunks = [chunk for path, text in texts_below(folder, _SUFFIXES) for chunk in chunks_of(path, text)]
        if not self._chunks:
            raise ValueError(f"{folder} has no text to search: add a .md, .markdown or .txt file")
        self._lock = Lock()
        self._database = sqlite3.connect(":memory:", check_same_thread=False)
        self._database.execute(
            "CREATE VIRTUAL TABLE chunks USING fts5(title, content, tokenize = 'porter ascii')"  # splits at spaces
        )
        self._database.executemany(
            "INSERT INTO chunks (rowid, title, content) VALUES (?, ?, ?)",
            ((row, _terms(chunk.title), _terms(chunk.content)) for row, chunk in enumerate(self._chunks)),
        )

    def __len__(self) -> int:
        return len(self._chunks)

    def search(self, query: str, limit: int) -> list[Hit]:
        """Return the best `limit` chunks that contain any word of the query, best first, ties in file order.

        In scripts without spaces, every two neighbouring characters of the query count as a word. Any text is a safe
        query; a query without words finds nothing.
        """
        terms = dict.fromkeys(_terms(query, inner=False).split(" "))
        if "" in terms:
            return []
        expression = " OR ".join(f'"{term}"' for term in terms)
        with self._lock:
            rows = self._database.execute(
                "SELECT rowid, -bm25(chunks) FROM chunks WHERE chunks MATCH ? ORDER BY rank, rowid LIMIT ?",
                (expression, min(limit, len(self))),
            ).fetchall()
        return [Hit(self._chunks[row], score) for row, score in rows]

    def close(self) -> None:
        """Free the index; a later search raises `sqlite3.ProgrammingError`."""
        with self._lock:
            self._database.close()


def chunks_of(path: PurePosixPath, text: str) -> Iterator[Chunk]:
    """Split one file into chunks at its Markdown headings, and long sections at blank lines.

    Follows CommonMark for `#` headings and code fences. But: no headings underlined with `===` or `---`, none over
    1,000 characters, and fences may have any indentation, as in lists. Front matter is dropped. `.txt` files have no
    headings.

        # Invoices            billing/invoices.md#due-dates, "Invoices > Due dates", "Net 30."
        ## Due dates
        Net 30.

    Every title starts with the file's first level-1 heading, or else its name. A heading without text of its own gets
    no chunk; it appears only in the titles of the sections below it.
    """
    if path.suffix.lower() in _MARKDOWN:
        sections = list(_sections(_FRONT_MATTER.sub("", text)))
    else:
        sections = [((), _BLANK_LINES.split(text))]
    name = encodable(path.stem).replace("-", " ").replace("_", " ")
    top = next((headings[0] for headings, _ in sections if headings and headings[0].level == 1), _Heading(1, name))
    slugs: dict[str, int] = {}
    for headings, paragraphs in sections:
        title = " > ".join([top.text, *(heading.text for heading in headings if heading != top)])
        source = f"{path}#{_slug(headings[-1].text, slugs)}" if headings else str(path)
        for part, content in enumerate(_packed(paragraphs)):
            key = (f"{source} {part}" if part else source).encode(errors="surrogatepass")
            yield Chunk(f"ki_{hashlib.sha256(key).hexdigest()[:16]}", title, content, encodable(source))


class _Heading(NamedTuple):
    level: int
    text: str


def _sections(text: str) -> Iterator[tuple[tuple[_Heading, ...], list[str]]]:
    """Yield the headings above each section, and its paragraphs with code fences kept whole."""
    headings: tuple[_Heading, ...] = ()
    paragraphs: list[list[str]] = [[]]
    fence = ""
    for line in text.split("\n"):
        if fence:
            bare = line.strip()
            if bare.startswith(fence) and not bare.strip(fence[0]):
                fence = ""
        elif opening := _FENCE.match(line.lstrip()):
            fence = opening[0]
        elif heading := _heading(line):
            yield headings, ["\n".join(lines) for lines in paragraphs]
            headings = (*(above for above in headings if above.level < heading.level), heading)
            paragraphs = [[]]
            continue
        elif not line.strip():
            paragraphs.append([])
        paragraphs[-1].append(line)
    yield headings, ["\n".join(lines) for lines in paragraphs]


def _heading(line: str) -> _Heading | None:
    """The heading in `line`, or None if there is none."""
    marks = line.lstrip(" ")
    rest = marks.lstrip("#")
    level = len(marks) - len(rest)
    if len(line) - len(marks) > 3 or not 1 <= level <= 6 or not rest.startswith((" ", "\t")):
        return None
    text = rest.strip(" \t")
    without_closing = text.rstrip("#")
    if without_closing.endswith((" ", "\t")):
        text = without_closing.rstrip(" \t")
    return _Heading(level, text) if 0 < len(text) <= _LONGEST_HEADING else None


def _packed(paragraphs: list[str]) -> Iterator[str]:
    """Join paragraphs into pieces of at most `_LONGEST` characters; a longer paragraph stays whole."""
    piece = ""
    for paragraph in (text for raw in paragraphs if (text := raw.strip("\n").rstrip())):
        joined = f"{piece}\n\n{paragraph}" if piece else paragraph
        if piece and len(joined) > _LONGEST:
            yield piece
            joined = paragraph
        piece = joined
    if piece:
        yield piece


def _slug(heading: str, taken: dict[str, int]) -> str:
    """The anchor GitHub gives a heading: lower case, hyphens for spaces, a number if it is taken.

    `taken` maps each slug to its last number, as github-slugger does (https://github.com/Flet/github-slugger, read
    2026-11-26).
    """
    kept = (each for each in heading.lower() if each.isalnum() or each in "_- " or unicodedata.category(each)[0] == "M")
    base = "".join(kept).strip().replace(" ", "-")
    slug = base
    while slug in taken:
        taken[base] += 1
        slug = f"{base}-{taken[base]}"
    taken[slug] = 0
    return slug


def _terms(text: str, *, inner: bool = True) -> str:
    """The terms of `text`, joined by spaces; Latin letters lose their accents, which people omit when searching."""
    terms = unicodedata.normalize("NFD", " ".join(terms_of(text, inner=inner)))
    return unicodedata.normalize("NFC", _ACCENTS.sub("", terms))
