"""Decides which candidates are relevant: by graded document ids, or by the answers a question should find."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from ksdk_rerank.evaluation.ids import by_id, grade_of, id_of
from ksdk_rerank.knowledgesdk.search_results import SearchHit

__all__ = ["Answers", "Grades", "Judged", "QueryJudgements", "answers_to", "judgements_by_id"]

Grades = Mapping[str, Mapping[str, int]]
"""How relevant documents are, as {query id: {document id: grade}}. A grade above 0 is relevant, and higher is better.
Below 0 means not judged, as in trec_eval. Grades are whole numbers of at most 32 bits, and ids are compared as text."""

Answers = Mapping[str, Sequence[str]]
"""What each query should find, as {query id: [answer, ...]}. `answers_to` describes the forms of an answer."""

Judged = Mapping[str, int] | Sequence[str]
"""What one query's judgements are: grades by document id, or answers."""

_BESIDE = r"[/#?&=.]"  # separates the parts of an address
_SCHEME = re.compile(r"^[a-z][a-z0-9+.-]*://", re.IGNORECASE)


class QueryJudgements:
    """The judgements for one query, with the ids that metrics are computed on.

    An answer counts once, for the first candidate in an order that matches it. Further sections of the same page keep
    their places but add nothing. What a candidate is worth therefore depends on the order: see `credited`. Answers that
    name the same page count as one answer.

    Attributes:
        judged: the judged documents or answers, as given.
        candidates: the candidates' names in the same terms: ids for graded documents, sources for answers.
        has_a_candidate: whether any candidate is judged at all, as relevant or not.
        qrels: the grades, by document or answer.
    """

    def __init__(self, candidates: Sequence[SearchHit], judged: Judged) -> None:
        self.judged = tuple(judged)
        if isinstance(judged, Mapping):
            self.candidates = tuple(id_of(hit.id) for hit in candidates)
            self.has_a_candidate = any(id in judged for id in self.candidates)
            self.qrels = {name: grade for name, grade in judged.items() if grade >= 0}
            self._names = [[id] if id in self.qrels else [] for id in self.candidates]
        else:
            self.candidates = tuple(hit.source or id_of(hit.id) for hit in candidates)
            found = [answers_to(hit, judged) for hit in candidates]
            same = _one_page_once(judged, found)
            self.qrels = {same[answer]: 1 for answer in judged}
            self._names = [list(dict.fromkeys(same[answer] for answer in answers)) for answers in found]
            self.has_a_candidate = any(found)

    def grades(self) -> tuple[int, ...]:
        """Each candidate's grade, or 0 if it is not relevant or not judged."""
        return tuple(max((self.qrels[name] for name in names), default=0) for names in self._names)

    def missed(self) -> tuple[str, ...]:
        """The relevant documents or answers that no candidate matches."""
        found = {name for names in self._names for name in names}
        return tuple(name for name, grade in self.qrels.items() if grade > 0 and name not in found)

    def credited(self, indices: Sequence[int]) -> list[str | None]:
        """For each place in an order, the judged document or answer that is credited there, once at most, or None."""
        taken: set[str] = set()
        counted: list[str | None] = []
        for index in indices:
            name = next((name for name in self._names[index] if name not in taken), None)
            if name is not None:
                taken.add(name)
            counted.append(name)
        return counted

    def answered(self, indices: Sequence[int]) -> tuple[bool, ...]:
        """For each place in an order, whether a relevant document or answer counts there."""
        return tuple(name is not None and self.qrels[name] > 0 for name in self.credited(indices))


def judgements_by_id(judgements: Grades | Answers) -> dict[str, Judged]:
    """`judgements` with all ids as text and all grades as integers. `ValueError` names an invalid one."""
    given: Mapping[str, Judged] = {**judgements}
    return {query: _of_one(query, judged) for query, judged in by_id(given, "judgements").items()}


def _of_one(query: str, judged: Judged) -> Judged:
    if isinstance(judged, str):
        raise TypeError(f"judgements[{query!r}] must be a list of answers, got one string; write [{judged!r}]")
    if not isinstance(judged, Mapping):
        return tuple(dict.fromkeys(map(id_of, judged)))
    grades: dict[object, int] = {}
    for document, grade in judged.items():
        try:
            grades[document] = grade_of(grade)
        except ValueError as error:
            raise ValueError(
                f"judgements[{query!r}]: the grade of {document!r} {error}, got {grade!r:.80};"
                " write 0 for a document that is not relevant"
            ) from None
    return by_id(grades, f"judgements[{query!r}]")


def _one_page_once(answers: Sequence[str], found: Sequence[Sequence[str]]) -> dict[str, str]:
    """Map each of `answers` to the first answer that names the same page.

    Two answers name the same page if one matches the other as an address (`seats` and
    `https://x.com/billing/seats.md`), or if the same candidates match both (an id, and the page that has it).
    """
    same: dict[str, str] = {}
    by_candidates: dict[tuple[int, ...], str] = {}
    by_name: dict[str, list[str]] = {}
    for answer in dict.fromkeys(answers):
        candidates = tuple(place for place, matched in enumerate(found) if answer in matched)
        first = by_candidates.setdefault(candidates, answer) if candidates else answer
        named = by_name.setdefault(_page(answer).stem, [])
        if first == answer:
            first = next((other for other in named if _names(other, answer) or _names(answer, other)), answer)
        named.append(answer)
        same[answer] = same.get(first, first)
    return same


def answers_to(hit: SearchHit, answers: Sequence[str]) -> list[str]:
    """The `answers` that `hit` matches.

    An answer is one of:

    - the hit's id, or its whole source;
    - the name of its file or page: the part of the source after the last slash, without `?...` and `#...`, with or
      without its suffix. `"rotate-a-key"` and `"rotate-a-key.md"` match `https://x.com/docs/rotate-a-key.md#steps`;
    - a part of its address that contains a `/` or `#` and consists of whole segments. `"docs/rotate-a-key"` and
      `"rotate-a-key.md#steps"` match that page too; `"docs/rotate"` does not.

    Case matters. The scheme (`http://` or `https://`), a trailing slash, and the encoding of accents (NFC or NFD) do
    not.
    """
    return [answer for answer in answers if id_of(answer) == id_of(hit.id) or _names(id_of(answer), hit.source or "")]


def _names(answer: str, address: str) -> bool:
    """Whether `answer` is the address, its page or a part of it."""
    address = unicodedata.normalize("NFC", address)
    source, wanted = _SCHEME.sub("", address).rstrip("/"), _SCHEME.sub("", answer).rstrip("/")
    if not wanted:
        return False
    if source == wanted:
        return True
    page = _page(address)
    if wanted in (page.name, page.stem):
        return True
    if "/" not in answer and "#" not in answer:
        return False
    before = "" if wanted[0] in "/#" else f"(?:^|{_BESIDE})"
    return re.search(f"{before}{re.escape(wanted)}(?:$|{_BESIDE})", source) is not None


def _page(address: str) -> PurePosixPath:
    """The path of an address, percent-decoded."""
    try:
        path = urlsplit(address).path
    except ValueError:  # such as "http://[draft/page.md"
        path = _SCHEME.sub("", address).rstrip("/")
    return PurePosixPath(unicodedata.normalize("NFC", unquote(path)))
