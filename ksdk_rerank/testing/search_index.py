"""Search in a folder of Markdown and text files: SQLite FTS5, in memory, ranked by BM25.

What is indexed are the terms of `_words`, so that a search finds the same words as every other part of the package, in
any script. FTS5 only stems the English ones.
"""

import hashlib
import re
import sqlite3
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ksdk_rerank._locks import Lock
from ksdk_rerank._text import encodable, terms_of
from ksdk_rerank._text_files import texts_below

__all__ = ["Chunk", "Hit", "SearchIndex", "chunks_of"]

_MARKDOWN = {".md", ".markdown"}
_SUFFIXES = {*_MARKDOWN, ".txt"}
_LONGEST = 1500  # characters in a chunk, unless one paragraph alone has more
_FRONT_MATTER = re.compile(r"\A---\n.*?^---$", re.DOTALL | re.MULTILINE)
_LONGEST_HEADING = 1000  # characters; a longer line is text, or it would be repeated in the title of every part below
_BLANK_LINES = re.compile(r"\n\s*\n")
_ACCENTS = re.compile("(?<=[a-z])[\u0300-\u036f]+")
_FENCE = re.compile(r"`{3,}+(?=[^`]*$)|~{3,}+")


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of one file: a section, or part of a long one. `source` is `folder/file.md#section-slug`."""

    id: str
    title: str
    content: str
    source: str


@dataclass(frozen=True, slots=True)
class Hit:
    """A chunk that matches. `score` is BM25, higher is better, without an upper bound."""

    chunk: Chunk
    score: float


class SearchIndex:
    """Finds the chunks of the `.md`, `.markdown` and `.txt` files below a folder that match a query.

    A byte order mark decides how a file is read; without one it is UTF-8, or else UTF-16 or Windows-1252 by a guess.
    One warning of the logger `ksdk_rerank` names guesses and files that are skipped, such as binary ones. Hidden files
    and folders are left out. Threads may share it. Raises `FileNotFoundError`, `NotADirectoryError`, or `ValueError`
    when the files hold no text.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.exists():
            raise FileNotFoundError(f"There is no folder {folder}: pass a folder of Markdown or text files")
        if not folder.is_dir():
            raise NotADirectoryError(f"{folder} is a file: pass the folder it is in")
        self._chunks = [chunk for path, text in texts_below(folder, _SUFFIXES) for chunk in chunks_of(path, text)]
        if not self._chunks:
            raise ValueError(f"{folder} has nothing to search: put a .md, .markdown or .txt file with text in")
        self._lock = Lock()
        self._database = sqlite3.connect(":memory:", check_same_thread=False)
        self._database.execute(
            "CREATE VIRTUAL TABLE chunks USING fts5(title, content, tokenize = 'porter ascii')"  # parted at spaces
        )
        self._database.executemany(
            "INSERT INTO chunks (rowid, title, content) VALUES (?, ?, ?)",
            ((row, _terms(chunk.title), _terms(chunk.content)) for row, chunk in enumerate(self._chunks)),
        )

    def __len__(self) -> int:
        return len(self._chunks)

    def search(self, query: str, limit: int) -> list[Hit]:
        """The best `limit` chunks that hold any word of the query, best first, ties in file order.

        In scripts without spaces any two neighbouring characters of the query are a word. Any text is a safe query; one
        without words finds nothing.
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
        """Free the index; searching it afterwards raises `sqlite3.ProgrammingError`."""
        with self._lock:
            self._database.close()


def chunks_of(path: PurePosixPath, text: str) -> Iterator[Chunk]:
    """Cut one file into chunks at its Markdown headings, and long sections at blank lines.

    Follows CommonMark for `#` headings and code fences. But: no headings underlined with `===` or `---` or of more
    than 1,000 characters, and fences may be indented at will, as in lists. Front matter is left out; `.txt` files have
    no headings.

        # Invoices            billing/invoices.md#due-dates, "Invoices > Due dates", "Net 30."
        ## Due dates
        Net 30.

    The title starts with the first level-1 heading, or else the file's name; a heading without text of its
    own is only found in the titles below it.
    """
    if path.suffix.lower() in _MARKDOWN:
        sections = list(_sections(_FRONT_MATTER.sub("", text)))
    else:
        sections = [((), _BLANK_LINES.split(text))]
    name = encodable(path.stem).replace("-", " ").replace("_", " ")
    top = next((headings[0] for headings, _ in sections if headings and headings[0][0] == 1), (1, name))
    slugs: dict[str, int] = {}
    for headings, paragraphs in sections:
        title = " > ".join([top[1], *(heading[1] for heading in headings if heading != top)])
        source = f"{path}#{_slug(headings[-1][1], slugs)}" if headings else str(path)
        for part, content in enumerate(_packed(paragraphs)):
            key = (f"{source} {part}" if part else source).encode(errors="surrogatepass")
            yield Chunk(f"ki_{hashlib.sha256(key).hexdigest()[:16]}", title, content, encodable(source))


def _sections(text: str) -> Iterator[tuple[tuple[tuple[int, str], ...], list[str]]]:
    """Each section: (level, text) of the headings that lead to it, and its paragraphs, code fences whole."""
    headings: tuple[tuple[int, str], ...] = ()
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
            headings = (*(above for above in headings if above[0] < heading[0]), heading)
            paragraphs = [[]]
            continue
        elif not line.strip():
            paragraphs.append([])
        paragraphs[-1].append(line)
    yield headings, ["\n".join(lines) for lines in paragraphs]


def _heading(line: str) -> tuple[int, str] | None:
    """The level and the text of a heading, or None if `line` is none."""
    marks = line.lstrip(" ")
    rest = marks.lstrip("#")
    level = len(marks) - len(rest)
    if len(line) - len(marks) > 3 or not 1 <= level <= 6 or not rest.startswith((" ", "\t")):
        return None
    text = rest.strip(" \t")
    without_closing = text.rstrip("#")
    if without_closing.endswith((" ", "\t")):
        text = without_closing.rstrip(" \t")
    return (level, text) if 0 < len(text) <= _LONGEST_HEADING else None


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

    `taken` has the last number of each, as in github-slugger (https://github.com/Flet/github-slugger, read 2026-11-26).
    """
    base = "".join(filter(_stays_in_slug, heading.lower())).strip().replace(" ", "-")
    slug = base
    while slug in taken:
        taken[base] += 1
        slug = f"{base}-{taken[base]}"
    taken[slug] = 0
    return slug


def _stays_in_slug(character: str) -> bool:
    return character.isalnum() or character in "_- " or unicodedata.category(character).startswith("M")


def _terms(text: str, *, inner: bool = True) -> str:
    """The terms of `text` with spaces between; Latin letters without accents, as a search box is used."""
    terms = " ".join(terms_of(text, inner=inner))
    return (
        terms
        if terms.isascii()
        else unicodedata.normalize("NFC", _ACCENTS.sub("", unicodedata.normalize("NFD", terms)))
    )
