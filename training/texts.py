"""Texts of the training material: passages, their queries, and the forms that questions take."""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field

__all__ = ["Passage", "Query", "Source", "cut", "dumps", "loads", "split", "vary"]

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")
_STOP = frozenset(
    """
    a an and are as at be by can did do does for from had has have how i if in into is it its me my of on or s she
    he that the their them there they this to was we were what when where which who whom whose why will with would
    you your many much kind type name called (are)
    """.split()  # noqa: SIM905 - words are easier to read like this
)


@dataclass(frozen=True, slots=True)
class Passage:
    """A passage, its article, topic, claim or package (`group`), and whether that is held out for validation."""

    text: str
    group: str
    held_out: bool


@dataclass(frozen=True, slots=True)
class Query:
    """A query and the passage that answers it; `weak` if nobody has marked that passage as the answer."""

    text: str
    gold: int  # position in the source's passages
    weak: bool = False


@dataclass(slots=True)
class Source:
    """The passages and queries of one source."""

    name: str
    passages: list[Passage] = field(default_factory=list)
    queries: list[Query] = field(default_factory=list)

    def add(self, text: str, group: str, questions: Iterable[str], weak: Iterable[str] = ()) -> None:
        """Add a passage with its questions and weak queries. A hash of `group` decides whether it is held out."""
        held_out = hashlib.sha256(group.encode()).digest()[0] < 13  # 13 of 256 is about a twentieth
        self.passages.append(Passage(" ".join(text.split()), group, held_out))
        gold = len(self.passages) - 1
        self.queries += [Query(" ".join(question.split()), gold) for question in questions]
        self.queries += [Query(" ".join(statement.split()), gold, weak=True) for statement in weak]


def split(text: str) -> list[str]:
    """Return the sentences of `text`."""
    return _SENTENCE_END.split(text)


def cut(text: str, words: int) -> tuple[str, str | None]:
    """Return the first sentences, up to about `words` words, and the next one if it is fit to be a query."""
    kept: list[str] = []
    for sentence in split(text):
        if kept and sum(len(one.split()) for one in kept) + len(sentence.split()) > words:
            return " ".join(kept), sentence if 6 <= len(sentence.split()) <= 30 else None
        kept.append(sentence)
    return " ".join(kept), None


def vary(question: str, rng: random.Random) -> str:
    """Vary the form: a fifth becomes keywords only, a third loses its question mark, the rest stays."""
    chance = rng.random()
    if chance < 0.2:
        words = [word for word in re.sub(r"[?,;:]", "", question).split() if word.lower() not in _STOP]
        return " ".join(words) if len(words) >= 2 else question
    return question.rstrip(" ?") if chance < 0.53 else question


def dumps(sources: Sequence[Source]) -> str:
    """Return sources as JSON."""
    return json.dumps([asdict(source) for source in sources])


def loads(text: str) -> list[Source]:
    """Read what `dumps` wrote."""
    return [
        Source(one["name"], [Passage(**row) for row in one["passages"]], [Query(**row) for row in one["queries"]])
        for one in json.loads(text)
    ]
