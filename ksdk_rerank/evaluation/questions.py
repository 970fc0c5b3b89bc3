"""Questions of your own with what each should find: the form that takes ten minutes to write."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from ksdk_rerank.evaluation.ids import id_of
from ksdk_rerank.evaluation.lines import Line, is_text, lines_of, shortened

__all__ = ["Questions", "read_questions"]


@dataclass(frozen=True, slots=True)
class Questions:
    """What is asked, and what should be found.

    Attributes:
        queries: `{id: question}`, for `evaluate`.
        answers: `{id: (answer, ...)}`, its judgements.
    """

    queries: Mapping[str, str]
    answers: Mapping[str, tuple[str, ...]]


def read_questions(path: str | os.PathLike[str]) -> Questions:
    """Read questions and what each should find, one JSON object a line.

        {"question": "How do I rotate a key?", "answers": ["rotate-an-api-key"]}
        {"id": "q2", "question": "Where are my invoices?", "answers": ["https://docs.example.com/billing/invoices"]}

    `answers` holds ids, pages or parts of addresses, as `answers_to` matches them; one will do without a list. Ids that
    are numbers are read as text.
    Without `"id"` a question is called after its line, `"line 1"`. `"_id"`, `"query"` and `"text"` are read as well.
    A question with no answers, `[]`, is left out of the measurement.

    Raises:
        ValueError: a line is malformed, an id is there twice, or there is no question; with file and line.
        OSError: the file cannot be read.
    """
    queries: dict[str, str] = {}
    answers: dict[str, tuple[str, ...]] = {}
    for line in lines_of(path):
        fields = line.fields
        id = line.id_in("id", "_id") if {"id", "_id"} & fields.keys() else f"line {line.number}"
        if id in queries:
            raise line.wrong(f"the id {id!r} is there twice; give each question one of its own")
        queries[id] = line.text_in("question", "query", "text")
        answers[id] = _answers(line, fields)
    if not queries:
        raise ValueError(f'{path}: there is no question; write lines such as {{"question": "...", "answers": ["..."]}}')
    return Questions(queries, answers)


def _answers(line: Line, fields: Mapping[str, object]) -> tuple[str, ...]:
    given = fields.get("answers")
    if _is_id(given):
        given = [given]
    if not isinstance(given, list):
        raise line.wrong("there is no 'answers', a list of ids, pages or parts of addresses; add it")
    for answer in given:
        if not _is_id(answer):
            what = shortened(answer)
            raise line.wrong(f"the answer {what} is not a text; write an id, a page or a part of its address")
    return tuple(dict.fromkeys(id_of(answer) for answer in given))


def _is_id(value: object) -> bool:
    return is_text(value) or (isinstance(value, int) and not isinstance(value, bool))
