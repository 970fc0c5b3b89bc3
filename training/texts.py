"""Texts of the training material: passages, who asks for them, and the forms in which questions come."""

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
    text: str
    group: str
    held_out: bool


@dataclass(frozen=True, slots=True)
class Query:
    text: str
    gold: int  # position in the source's passages
    weak: bool = False


@dataclass(slots=True)
class Source:
    name: str
    passages: list[Passage] = field(default_factory=list)
    queries: list[Query] = field(default_factory=list)

    def add(self, text: str, group: str, questions: Iterable[str], weak: Iterable[str] = ()) -> None:
        held_out = hashlib.sha256(group.encode()).digest()[0] < 13  # 13 of 256 are a twentieth
        self.passages.append(Passage(" ".join(text.split()), group, held_out))
        gold = len(self.passages) - 1
        self.queries += [Query(" ".join(question.split()), gold) for question in questions]
        self.queries += [Query(" ".join(statement.split()), gold, weak=True) for statement in weak]


def split(text: str) -> list[str]:
    """The sentences."""
    return _SENTENCE_END.split(text)


def cut(text: str, words: int) -> tuple[str, str | None]:
    """The first sentences, up to about so many words, and the sentence after them if it can stand as a query."""
    kept: list[str] = []
    for sentence in split(text):
        if kept and sum(len(one.split()) for one in kept) + len(sentence.split()) > words:
            return " ".join(kept), sentence if 6 <= len(sentence.split()) <= 30 else None
        kept.append(sentence)
    return " ".join(kept), None


def vary(question: str, rng: random.Random) -> str:
    """A fifth reduced to keywords, a third without the question mark, half of the rest in lower case."""
    chance = rng.random()
    if chance < 0.2:
        words = [word for word in re.sub(r"[?,;:]", "", question).split() if word.lower() not in _STOP]
        return " ".join(words) if len(words) >= 2 else question
    return question.rstrip(" ?") if chance < 0.53 else question


def dumps(sources: Sequence[Source]) -> str:
    """Sources as JSON."""
    return json.dumps([asdict(source) for source in sources])


def loads(text: str) -> list[Source]:
    """What `dumps` wrote."""
    return [
        Source(one["name"], [Passage(**row) for row in one["passages"]], [Query(**row) for row in one["queries"]])
        for one in json.loads(text)
    ]
