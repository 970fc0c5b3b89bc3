"""The embedded model orders forty pairs of passages that are obvious to a reader."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ksdk_rerank import CrossEncoderReranker
from ksdk_rerank.models import EMBEDDED, folder_of

PAIRS = json.loads(Path(__file__).with_name("sanity_pairs.json").read_text(encoding="utf-8"))

KNOWN_TO_FAIL = {
    "birds that cannot fly",
    "What is the package httpx?",
    "How do I delete a project?",
    "side effects of aspirin",
    "How long does it take to fly from London to New York?",
    "Why is the sky blue?",
    "What is the capital of Australia?",
    "How do I reset my password?",
    "When did the Berlin Wall fall?",
    "Who painted the Mona Lisa?",
    "How are invoices sent?",
    "How do I install the agent on Linux?",
    "symptoms of measles",
    "treaty of Versailles consequences",
    "How do I undo the last git commit?",
    "jaguar top speed animal",
    "apple harvest season",
    "python bite treatment",
}


@pytest.fixture(scope="module")
def embedded() -> Iterator[CrossEncoderReranker]:
    with CrossEncoderReranker("embedded") as reranker:
        yield reranker


@pytest.mark.parametrize("pair", PAIRS, ids=[pair["query"] for pair in PAIRS])
def test_the_better_passage_comes_first(embedded: CrossEncoderReranker, pair: dict[str, str]) -> None:
    ranking = embedded.rank(pair["query"], [pair["worse"], pair["better"]])
    if pair["query"] in KNOWN_TO_FAIL and ranking[0].document != pair["better"]:
        pytest.xfail("known to fail")
    assert ranking[0].document == pair["better"]


def test_every_known_failure_is_one_of_the_pairs_and_on_the_model_card() -> None:
    card = " ".join((folder_of(EMBEDDED) / "MODEL_CARD.md").read_text(encoding="utf-8").split())
    assert {pair["query"] for pair in PAIRS if f'"{pair["query"]}"' in card} == KNOWN_TO_FAIL
