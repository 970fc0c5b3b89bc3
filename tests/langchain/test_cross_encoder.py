"""A cross-encoder of LangChain's as the reranker, and a reranker as LangChain's cross-encoder."""

from __future__ import annotations

import asyncio
import copy
import math
import pickle
import threading
from array import array
from decimal import Decimal
from typing import Any

import pytest

pytest.importorskip("langchain_core")
pytest.importorskip("numpy")

import numpy as np
from langchain_core.documents import Document

from ksdk_rerank import (
    Cascade,
    CrossEncoderReranker,
    Deduplicated,
    Fallback,
    InputOrder,
    LexicalReranker,
    Reranker,
    ScoreKind,
)
from ksdk_rerank.errors import BadReply, InferenceFailed, RateLimited
from langchain_ksdk_rerank import LangChainCrossEncoder, RerankCompressor, RerankerCrossEncoder

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


@pytest.mark.parametrize(("model", "got"), [(Lengths, "the class Lengths"), (np.ones(2), "ndarray")])
def test_what_cannot_score_pairs_is_refused_by_construction(model: Any, got: str) -> None:
    with pytest.raises(TypeError, match=rf"with a method score\(text_pairs\), got {got}"):
        LangChainCrossEncoder(model)


def test_min_score_needs_to_know_what_the_scores_are() -> None:
    with pytest.raises(ValueError, match=r"LangChainCrossEncoder\(model, score_kind=...\)"):
        RerankCompressor(Lengths(), min_score=0.5)


async def test_it_runs_on_a_thread_of_its_own() -> None:
    model = Lengths()
    compressor = RerankCompressor(model)
    compressor.compress_documents(DOCUMENTS, "key")
    await asyncio.gather(*(compressor.acompress_documents(DOCUMENTS, "key") for _ in range(8)))
    [thread] = model.threads
    assert thread.startswith("ksdk-rerank-pairs")


async def test_too_few_scores_are_an_error() -> None:
    with pytest.raises(BadReply, match="Short returned 1 scores for 2 documents"):
        RerankCompressor(Short()).compress_documents(DOCUMENTS, "key")
    with pytest.raises(BadReply, match="Short returned 1 scores for 2 documents"):
        await RerankCompressor(Short()).acompress_documents(DOCUMENTS, "key")


class Returning(BaseCrossEncoder):
    """A model that gives whatever it is told, whatever it is asked."""

    model_name = "some/model"

    def __init__(self, scores: Any) -> None:
        self.scores = scores

    def score(self, text_pairs: list[tuple[str, str]]) -> Any:
        return self.scores() if callable(self.scores) else self.scores


class Tensor:
    """What knows no more than how to become an array, as TensorFlow's tensors and pandas's frames do."""

    def __init__(self, values: Any) -> None:
        self.values = np.array(values)

    def __array__(self) -> Any:
        return self.values

    def __repr__(self) -> str:
        return f"Tensor({self.values.tolist()})"


@pytest.mark.parametrize(
    "scores",
    [
        [0.5, 2.0],
        (0.5, 2.0),
        pytest.param(lambda: (score for score in (0.5, 2.0)), id="a generator"),
        np.array([0.5, 2.0]),
        np.array([0.5, 2.0], dtype=np.float16),
        np.array([[0.5], [2.0]]),
        np.array([[0.5, 2.0]]),
        np.array([[[0.5]], [[2.0]]]),
        [np.array(0.5), np.array([2.0])],
        [np.float32(0.5), 2],
        [[0.5], (2.0,)],
        array("d", [0.5, 2.0]),
        {0: 0.5, 1: 2.0}.values(),
        Tensor([[0.5], [2.0]]),
    ],
    ids=repr,
)
async def test_an_array_like_with_a_number_a_pair_is_scores(scores: Any) -> None:
    reranker = LangChainCrossEncoder(Returning(scores))
    for ranking in (reranker.rank("key", ["door", "key"]), await reranker.arank("key", ["door", "key"])):
        assert [(hit.index, hit.raw_score) for hit in ranking] == [(1, 2.0), (0, 0.5)]
        assert {type(hit.raw_score) for hit in ranking} == {float}


@pytest.mark.parametrize(
    "scores", [2.0, 2, np.float32(2), np.array(2.0), [2.0], np.array([[2.0]]), Tensor(2.0), Decimal(2)], ids=repr
)
async def test_one_pair_may_have_a_bare_number(scores: Any) -> None:
    reranker = LangChainCrossEncoder(Returning(scores))
    for ranking in (reranker.rank("key", ["key"]), await reranker.arank("key", ["key"])):
        assert [hit.raw_score for hit in ranking] == [2.0]


def test_tensors_of_torch_are_scores_in_any_precision() -> None:
    torch = pytest.importorskip("torch")
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        scores = torch.tensor([[0.5], [2.0]], dtype=dtype, requires_grad=True)
        for given in (scores, scores[:, 0], list(scores), scores.detach().squeeze()):
            ranking = LangChainCrossEncoder(Returning(given)).rank("key", ["door", "key"])
            assert [(hit.index, hit.raw_score) for hit in ranking] == [(1, 2.0), (0, 0.5)]


@pytest.mark.parametrize(
    "scores",
    [
        None,
        2.0,
        "0.5",
        b"ab",
        [],
        [1.0],
        [1.0, 2.0, 3.0],
        [1.0, None],
        [1.0, "2.0"],
        [1.0, "high"],
        [1.0, True],
        [1.0, math.nan],
        [1.0, -math.inf],
        [1.0, 10**400],
        [1.0, 2j],
        pytest.param([1.0, object()], id="[1.0, object()]"),
        [1.0, [2.0, 3.0]],
        [[1.0, 2.0], [3.0, 4.0]],
        [[1.0], [2.0, 3.0]],
        [1.0, []],
        {0: 1.0, 1: 2.0},
        {1.0, 2.0},
        np.array([[1.0, 2.0], [3.0, 4.0]]),
        np.array([1.0, np.nan]),
        np.array(["a", "b"]),
        np.ma.masked_array([1.0, 2.0], mask=[False, True]),
        pytest.param(object(), id="object()"),
    ],
    ids=repr,
)
async def test_anything_else_is_a_bad_reply_that_names_the_class(scores: Any) -> None:
    reranker = LangChainCrossEncoder(Returning(scores))
    with pytest.raises(BadReply, match=r"^Returning (did not return|returned|scored) "):
        reranker.rank("key", ["door", "key"])
    with pytest.raises(BadReply, match=r"^Returning (did not return|returned|scored) "):
        await reranker.arank("key", ["door", "key"])
    assert Fallback([reranker, "input-order"]).rank("key", ["door", "key"]).reranked_by == "input-order"


@pytest.mark.parametrize(
    "error", [MemoryError(), TypeError("no tensor"), RuntimeError("CUDA out of memory"), OSError(5)]
)
async def test_a_model_that_fails_is_an_engine_that_fails(error: Exception) -> None:
    class Failing(BaseCrossEncoder):
        def score(self, text_pairs: list[tuple[str, str]]) -> list[float]:
            raise error

    reranker = LangChainCrossEncoder(Failing())
    with pytest.raises(InferenceFailed, match=f"^Failing failed: {type(error).__name__}: {error}") as caught:
        reranker.rank("key", ["key"])
    assert caught.value.__cause__ is error
    with pytest.raises(InferenceFailed):
        await reranker.arank("key", ["key"])
    spared = RerankCompressor(Fallback([reranker, "input-order"])).compress_documents(DOCUMENTS, "key")
    assert [document.id for document in spared] == ["door", "key"]


def test_an_error_of_ours_from_within_a_model_stays_what_it_is() -> None:
    class Within(BaseCrossEncoder):
        def score(self, text_pairs: list[tuple[str, str]]) -> list[float]:
            raise RateLimited("too many")

    with pytest.raises(RateLimited):
        LangChainCrossEncoder(Within()).rank("key", ["key"])


def test_min_score_and_a_model_of_unknown_kind_do_not_meet_by_assignment_either() -> None:
    compressor = RerankCompressor(Lengths())
    with pytest.raises(ValueError, match="scores of a known kind"):
        compressor.min_score = 0.5
    strict = RerankCompressor("lexical", min_score=0.5)
    with pytest.raises(ValueError, match="scores of a known kind"):
        strict.reranker = Lengths()  # type: ignore[assignment]
    strict.reranker = LangChainCrossEncoder(Lengths())
    for other in (copy.deepcopy(compressor), pickle.loads(pickle.dumps(compressor))):
        with pytest.raises(ValueError, match="scores of a known kind"):
            other.min_score = 0.5


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


# The other way round

TEXTS = ["A door.", "A key opens a door.", " ", "A key."]


@pytest.fixture(params=["lexical", "local"])
def reranker(request: pytest.FixtureRequest) -> Reranker:
    if request.param == "lexical":
        return LexicalReranker()
    return CrossEncoderReranker(str(request.getfixturevalue("tiny_bert")), backend="onnx")


async def test_langchains_own_reranker_gives_our_order(reranker: Reranker) -> None:
    compressors = pytest.importorskip("langchain_classic.retrievers.document_compressors")
    theirs = compressors.CrossEncoderReranker(model=RerankerCrossEncoder(reranker), top_n=3)
    documents = [Document(text) for text in TEXTS]
    ours = RerankCompressor(reranker, top_n=3).compress_documents(documents, "key")
    for found in (theirs.compress_documents(documents, "key"), await theirs.acompress_documents(documents, "key")):
        assert [each.page_content for each in found] == [each.page_content for each in ours]


def test_scores_are_the_raw_ones_and_a_blank_text_has_the_lowest(reranker: Reranker) -> None:
    scores = RerankerCrossEncoder(reranker).score([("key", text) for text in TEXTS])
    assert scores[2] == -math.inf
    assert {hit.index: hit.raw_score for hit in reranker.rank("key", TEXTS) if hit.raw_score is not None} == {
        index: score for index, score in enumerate(scores) if index != 2
    }
    assert all(type(score) is float for score in scores)


def test_pairs_of_several_queries_each_get_their_own_score(reranker: Reranker) -> None:
    pairs = [("key", TEXTS[0]), ("door", TEXTS[0]), ("key", TEXTS[3]), ("door", TEXTS[3])]
    scores = RerankerCrossEncoder(reranker).score(pairs)
    alone = [
        RerankerCrossEncoder(reranker).score([pair for pair in pairs if pair[0] == query]) for query in ("key", "door")
    ]
    assert scores == [alone[0][0], alone[1][0], alone[0][1], alone[1][1]]
    assert RerankerCrossEncoder(reranker).score([]) == []


def test_without_scores_langchain_keeps_the_order_it_was_given() -> None:
    assert RerankerCrossEncoder(InputOrder()).score([("key", "a"), ("key", "b")]) == [-math.inf, -math.inf]
    head, *tail = RerankerCrossEncoder(Cascade("lexical", "lexical", keep=1)).score(
        [("key", text) for text in ("key", "b", "c")]
    )
    assert math.isfinite(head)
    assert tail == [-math.inf, -math.inf]


def test_a_duplicate_has_the_score_of_what_it_repeats() -> None:
    scores = RerankerCrossEncoder(Deduplicated("lexical")).score([("key", "a key"), ("key", "b"), ("key", "A  key")])
    assert scores[0] == scores[2] > scores[1]


def test_it_is_known_by_its_rerankers_name_and_can_be_pickled() -> None:
    model = RerankerCrossEncoder("lexical")
    assert isinstance(model, BaseCrossEncoder)
    assert model.model_name == "lexical"
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert other.score([("key", "a key")]) == model.score([("key", "a key")])
