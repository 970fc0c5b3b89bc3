"""Which candidates are relevant: by graded document ids, or by what a question should find."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from ksdk_rerank.knowledgesdk.results import SearchHit

__all__ = ["Answers", "Grades", "Judged", "answers_to"]

Grades = Mapping[str, Mapping[str, int]]
"""How relevant documents are, as {query id: {document id: grade}}; above 0 is relevant, more is better, and below 0 is
not judged, as for trec_eval."""

Answers = Mapping[str, Sequence[str]]
"""What each query should find, as {query id: [answer, ...]}; see `answers_to` for what an answer may be."""

_BESIDE = r"[/#?&=.]"  # where one part of an address ends and the next begins
_SCHEME = re.compile(r"^[a-z][a-z0-9+.-]*://", re.IGNORECASE)


class Judged:
    """What is known of one query's documents, in the ids that the metrics are worked out with.

    An answer is found once, by the first candidate of an order that is one; further sections of the same page take up
    their places but count no more. So what a candidate is worth depends on the order, and `run` says it for one.
    """

    def __init__(self, candidates: Sequence[SearchHit], judgements: Mapping[str, int] | Sequence[str]) -> None:
        if isinstance(judgements, Mapping):
            self.qrels = {name: grade for name, grade in judgements.items() if grade >= 0}
            self._names = [[hit.id] if hit.id in self.qrels else [] for hit in candidates]
        else:
            self.qrels = dict.fromkeys(judgements, 1)
            self._names = [answers_to(hit, judgements) for hit in candidates]

    def grades(self) -> tuple[int, ...]:
        """Each candidate's grade, 0 where it is not relevant or not judged."""
        return tuple(max((self.qrels[name] for name in names), default=0) for names in self._names)

    def missed(self) -> tuple[str, ...]:
        """What is relevant but not among the candidates."""
        found = {name for names in self._names for name in names}
        return tuple(name for name, grade in self.qrels.items() if grade > 0 and name not in found)

    def run(self, indices: Sequence[int]) -> list[str | None]:
        """What the document at each place of an order is judged as; None where it is not, or was already."""
        taken: set[str] = set()
        counted: list[str | None] = []
        for index in indices:
            name = next((name for name in self._names[index] if name not in taken), None)
            if name is not None:
                taken.add(name)
            counted.append(name)
        return counted


def answers_to(hit: SearchHit, answers: Sequence[str]) -> list[str]:
    """Those of `answers` that `hit` is.

    An answer is one of:

    - the hit's id, or its whole source;
    - the name of its file or page: what stands behind the last slash of the source, with or without its suffix, without
      `?...` and `#...`. `"rotate-a-key"` and `"rotate-a-key.md"` are `https://x.com/docs/rotate-a-key.md#steps`;
    - a part of its address, which has a `/` or `#` in it and is made of whole segments: `"docs/rotate-a-key"` and
      `"rotate-a-key.md#steps"` are that page too, `"docs/rotate"` is not.

    Case counts. `http://` and `https://` do not, nor does a slash at the end.
    """
    return [answer for answer in answers if _is(hit, answer)]


def _is(hit: SearchHit, answer: str) -> bool:
    if answer == hit.id:
        return True
    if not hit.source:
        return False
    source, wanted = _SCHEME.sub("", hit.source).rstrip("/"), _SCHEME.sub("", answer).rstrip("/")
    if not wanted:
        return False
    if source == wanted:
        return True
    try:
        path = urlsplit(hit.source).path
    except ValueError:  # such as "http://[draft/page.md"
        path = source
    page = PurePosixPath(unquote(path))
    if wanted in (page.name, page.stem):
        return True
    if "/" not in answer and "#" not in answer:
        return False
    before = "" if wanted[0] in "/#" else f"(?:^|{_BESIDE})"
    return re.search(f"{before}{re.escape(wanted)}(?:$|{_BESIDE})", source) is not None
