"""Keys: what tells one reranker or question from another, without a text in clear."""

from __future__ import annotations

from typing import Any

import pytest

from ksdk_rerank import JinaReranker, LexicalReranker
from ksdk_rerank._fingerprint import digest, digest_after, identity


def test_digests_tell_where_a_part_ends() -> None:
    assert len({digest("ab", "c"), digest("a", "bc"), digest("abc"), digest("ab", "c", "")}) == 4


def test_a_digest_is_the_same_where_its_beginning_was_hashed_before() -> None:
    key = digest_after("0.1.0", "query")
    assert [key("a"), key("b", "c"), key("a")] == [digest("0.1.0", "query", *rest) for rest in ("a", "bc", "a")]


def test_a_digest_is_the_same_in_every_process_and_holds_no_text() -> None:
    # printf '\0\0\0\0\0\0\0\4fox!' | b2sum -l 160
    assert digest("fox!") == "195a8d5373ee479f0b8eb1d8e5e3472a0f894f34"


def test_a_reranker_says_which_of_its_parameters_change_a_ranking() -> None:
    class Patient(LexicalReranker):
        def __init__(self, k1: float = 1.2, patience: float = 1.0) -> None:
            super().__init__(k1=k1)
            self.patience = patience

        def identifying_parameters(self) -> dict[str, object]:
            return {"k1": self.k1}

    assert identity(Patient(patience=1.0), "u") == identity(Patient(patience=2.0), "u")
    assert identity(Patient(k1=1.0), "u") != identity(Patient(k1=2.0), "u")


def test_another_version_of_the_library_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    before = identity(LexicalReranker(), "u")
    monkeypatch.setattr("ksdk_rerank._fingerprint.LIBRARY", "ksdk-rerank 99")
    assert identity(LexicalReranker(), "u") != before


@pytest.mark.parametrize("option", [{"timeout": 5.0}, {"retries": 0}, {"max_documents_per_request": 10}])
def test_how_a_request_is_sent_changes_no_ranking(option: dict[str, Any]) -> None:
    name = "jina-reranker-v2-base-multilingual"
    assert identity(JinaReranker(name, api_key="k", **option), "u") == identity(
        JinaReranker(name, api_key="other"), "u"
    )
