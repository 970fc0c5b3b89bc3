"""Reads a file of your own questions and the answers they should find."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from ksdk_rerank.evaluation.ids import id_of
from ksdk_rerank.evaluation.input_lines import Line, is_text, lines_of, quoted

__all__ = ["Questions", "read_questions"]


@dataclass(frozen=True, slots=True)
class Questions:
    """Questions and what each should find, ready to pass to `evaluate`.

    Attributes:
        queries: the queries, as `{id: question}`.
        answers: the judgements, as `{id: (answer, ...)}`.
    """

    queries: Mapping[str, str]
    answers: Mapping[str, tuple[str, ...]]


def read_questions(path: str | os.PathLike[str]) -> Questions:
    """Read questions and what each should find from a file with one JSON object per line.

        {"question": "How do I rotate a key?", "answers": ["rotate-an-api-key"]}
        {"id": "q2", "question": "Where are my invoices?", "answers": ["https://docs.example.com/billing/invoices"]}

    `"answers"` holds ids, pages or parts of addresses, as `answers_to` matches them. A single answer needs no list, and
    numeric ids are read as text. Without an `"id"`, a question gets its line number, such as `"line 1"`. The keys
    `"_id"`, `"query"` and `"text"` are accepted as well. `evaluate` leaves out questions whose answers are `[]`.

    Raises:
        ValueError: a line is malformed, an id is repeated, or the file has no questions. The message gives the file,
            and the line if there is one.
        OSError: the file cannot be read.
    """
    queries: dict[str, str] = {}
    answers: dict[str, tuple[str, ...]] = {}
    for line in lines_of(path):
        fields = line.fields
        id = line.id_in("id", "_id") if {"id", "_id"} & fields.keys() else f"line {line.number}"
        if id in queries:
            raise line.wrong(f"the id {id!r} is already in use; give each question its own")
        queries[id] = line.text_in("question", "query", "text")
        answers[id] = _answers(line, fields)
    if not queries:
        raise ValueError(f'{path}: no questions found; write lines such as {{"question": "...", "answers": ["..."]}}')
    return Questions(queries, answers)


def _answers(line: Line, fields: Mapping[str, object]) -> tuple[str, ...]:
    given = fields.get("answers")
    if _is_id(given):
        given = [given]
    if not isinstance(given, list):
        raise line.wrong("'answers' must be a list of ids, pages or parts of addresses")
    for answer in given:
        if not _is_id(answer):
            raise line.wrong(f"an answer must be an id, a page or part of an address, got {quoted(answer)}")
    return tuple(dict.fromkeys(id_of(answer) for answer in given))


def _is_id(value: object) -> bool:
    return is_text(value) or (isinstance(value, int) and not isinstance(value, bool))
