"""The bundled model's int8 file gives the scores of the float32 weights that it was made from, alone and in a batch.

`write_golden.py` writes what is compared with.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import ksdk_rerank
from ksdk_rerank import CrossEncoderReranker, load_reranker

pytest.importorskip("onnxruntime")

FOLDER = Path(ksdk_rerank.__file__).parent / "models" / "embedded"
GOLDEN = json.loads(Path(__file__).with_name("embedded_golden.json").read_text(encoding="utf-8"))
PAIRS = GOLDEN["pairs"]
TOLERANCE = 0.2
"""In logits, which have a range of about 20."""


@pytest.fixture(scope="module")
def embedded() -> Iterator[CrossEncoderReranker]:
    with CrossEncoderReranker("embedded") as reranker:
        yield reranker


def test_its_files_are_those_that_were_measured_and_nothing_else() -> None:
    found = {path.relative_to(FOLDER).as_posix(): path.read_bytes() for path in FOLDER.rglob("*") if path.is_file()}
    del found["MODEL_CARD.md"]
    assert {name: hashlib.sha256(content).hexdigest() for name, content in found.items()} == GOLDEN["sha256"]


def test_it_takes_at_most_24_megabytes() -> None:
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) <= 24_000_000


def test_there_are_twenty_golden_pairs() -> None:
    assert len({(pair["query"], pair["document"]) for pair in PAIRS}) == 20


def test_its_scores_are_those_of_the_float32_weights(embedded: CrossEncoderReranker) -> None:
    found = [embedded.score(pair["query"], [pair["document"]]).raw[0] for pair in PAIRS]
    assert found == pytest.approx([pair["logit"] for pair in PAIRS], abs=TOLERANCE)


def test_a_score_is_the_same_alone_and_in_a_batch(embedded: CrossEncoderReranker) -> None:
    documents = [pair["document"] for pair in PAIRS]
    together = embedded.score("refund annual plan", documents).raw
    alone = [embedded.score("refund annual plan", [document]).raw[0] for document in documents]
    assert together == pytest.approx(alone, abs=0.01)


def test_many_queries_get_the_scores_that_each_gets_alone(embedded: CrossEncoderReranker) -> None:
    queries, documents = [pair["query"] for pair in PAIRS], [[pair["document"]] for pair in PAIRS]
    together = [ranking[0].raw_score for ranking in embedded.rank_many(queries, documents)]
    alone = [embedded.rank(query, texts)[0].raw_score for query, texts in zip(queries, documents, strict=True)]
    assert together == pytest.approx(alone, abs=0.01)


def test_it_goes_by_its_name() -> None:
    with load_reranker("embedded") as reranker:
        ranking = reranker.rank(PAIRS[0]["query"], [PAIRS[1]["document"], PAIRS[0]["document"]])
        assert ranking.indices == (1, 0)
        assert ranking.reranked_by == reranker.name == "embedded"
