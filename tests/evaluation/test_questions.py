"""Files of questions and answers: what is read, and where a malformed line is."""

from __future__ import annotations

from pathlib import Path

import pytest

from ksdk_rerank.evaluation import read_questions


def test_questions_have_ids_texts_and_answers(tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_text(
        '\ufeff{"id": "a", "question": "How?", "answers": ["x", "y", "x"]}\n'
        "\n"
        '{"query": "Why?", "answers": "z"}\r\n'
        '{"_id": 7, "text": "When?", "answers": [3, "4"]}\n',
        encoding="utf-8",
    )
    questions = read_questions(path)
    assert questions.queries == {"a": "How?", "line 3": "Why?", "7": "When?"}
    assert questions.answers == {"a": ("x", "y"), "line 3": ("z",), "7": ("3", "4")}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "not valid JSON .*write one JSON object per line"),
        ("[" * 100_000, "not valid JSON"),
        ('"text"', "expected a JSON object, got"),
        ('{"answers": []}', "'question' or 'query' or 'text' is missing; add it"),
        ('{"question": " ", "answers": []}', "'question' must be text, got ' '"),
        ('{"question": ["q"], "answers": []}', r"'question' must be text, got \['q'\]"),
        ('{"question": "q"}', "'answers' must be a list"),
        ('{"question": "q", "answers": {"a": 1}}', "'answers' must be a list"),
        ('{"question": "q", "answers": ["a", 3.5]}', "an answer must be .*, got 3.5"),
        ('{"question": "q", "answers": ["a", true]}', "an answer must be .*, got True"),
        ('{"question": "q", "answers": [""]}', "an answer must be .*, got ''"),
        ('{"id": "a", "question": "q", "answers": []}', "the id 'a' is already in use"),
        ('{"id": true, "question": "q", "answers": []}', "'id' must be text, got True"),
        (r'{"question": "caf\ud83d", "answers": []}', r"'question' must be text, got 'caf\\ud83d'"),
        (r'{"question": "q", "answers": ["caf\ud83d"]}', r"an answer must be .*, got 'caf\\ud83d'"),
    ],
)
def test_a_malformed_question_is_reported_with_file_and_line(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_text('{"id": "a", "question": "q", "answers": ["x"]}\n\n' + line + "\n")
    with pytest.raises(ValueError, match=rf"questions\.jsonl:3: {message}"):
        read_questions(path)


def test_a_file_without_questions_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n\n")
    with pytest.raises(ValueError, match=r"empty: no questions found; write lines such as"):
        read_questions(tmp_path / "empty")
