"""`LangChainCrossEncoder`: a cross-encoder of LangChain's as the reranker."""

from __future__ import annotations

import asyncio
import copy
import pickle
import threading

import pytest

pytest.importorskip("langchain_core")

from langchain_core.documents import Document

from ksdk_rerank import ScoreKind
from ksdk_rerank.errors import BadReply
from langchain_ksdk_rerank import LangChainCrossEncoder, RerankCompressor

try:
    from langchain_core.cross_encoders import BaseCrossEncoder
except ImportError:  # langchain-core before 1.2.19; the class was in langchain-classic then
    from langchain_classic.retrievers.document_compressors.cross_encoder import BaseCrossEncoder

DOCUMENTS = [Document("door", id="door"), Document("key", id="key")]


class Lengths(BaseCrossEncoder):
    """A model whose score is the logit 0 for what equals the query, and -2 for all else."""

    model_name = "lengths"

    def __init__(self) -> None:
        self.threads: set[str] = set()

    def score(self, text_pairs: list[tuple[str, str]]) -> list[float]:
        self.threads.add(threading.current_thread().name)
        return [0.0 if query == text else -2.0 for query, text in text_pairs]


class Short(BaseCrossEncoder):
    def score(self, text_pairs: list[tuple[str, str]]) -> list[float]:
        return [1.0]


async def test_it_is_accepted_as_the_reranker() -> None:
    compressor = RerankCompressor(Lengths())
    found = compressor.compress_documents(DOCUMENTS, "key")
    assert found == await compressor.acompress_documents(DOCUMENTS, "key")
    # sigmoid(0) = 1/2; sigmoid(-2) = 1 / (1 + e^2) = 1 / 8.389056 = 0.119203
    assert [(document.id, document.metadata["relevance_score"]) for document in found] == [
        ("key", 0.5),
        ("door", pytest.approx(0.119203, abs=1e-6)),
    ]
    assert {document.metadata["reranked_by"] for document in found} == {"lengths"}


async def test_scores_that_are_in_0_to_1_already_stay_when_one_says_so() -> None:
    class Unit(Lengths):
        def score(self, text_pairs: list[tuple[str, str]]) -> list[float]:
            return [0.75 if query == text else 0.25 for query, text in text_pairs]

    reranker = LangChainCrossEncoder(Unit(), score_kind=ScoreKind.UNIT)
    found = await RerankCompressor(reranker, min_score=0.5).acompress_documents(DOCUMENTS, "key")
    assert [(document.id, document.metadata["relevance_score"]) for document in found] == [("key", 0.75)]


def test_min_score_needs_to_know_what_the_scores_are() -> None:
    with pytest.raises(ValueError, match=r"LangChainCrossEncoder\(model, score_kind=...\)"):
        RerankCompressor(Lengths(), min_score=0.5)


async def test_it_runs_on_a_thread_of_its_own() -> None:
    model = Lengths()
    compressor = RerankCompressor(model)
    compressor.compress_documents(DOCUMENTS, "key")
    await asyncio.gather(*(compressor.acompress_documents(DOCUMENTS, "key") for _ in range(8)))
    [thread] = model.threads
    assert thread.startswith("ksdk-rerank-langchain")


async def test_too_few_scores_are_an_error() -> None:
    with pytest.raises(BadReply, match="Short gave 1 scores for 2 documents"):
        RerankCompressor(Short()).compress_documents(DOCUMENTS, "key")
    with pytest.raises(BadReply, match="Short gave 1 scores for 2 documents"):
        await RerankCompressor(Short()).acompress_documents(DOCUMENTS, "key")


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda reranker: pickle.loads(pickle.dumps(reranker))])
def test_copies_and_pickles_work_alike(duplicate: object) -> None:
    assert callable(duplicate)
    reranker = LangChainCrossEncoder(Lengths(), score_kind=ScoreKind.UNIT)
    reranker.rank("key", ["key"])
    other = duplicate(reranker)
    assert (other.name, other.score_kind) == ("lengths", ScoreKind.UNIT)
    assert other.rank("key", ["key"]) == reranker.rank("key", ["key"])
    reranker.close()
    assert reranker.rank("key", ["key"])[0].score == 0.0
