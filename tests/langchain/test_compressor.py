"""`RerankCompressor`: scores, copies, limits, and what is scored."""

from __future__ import annotations

import asyncio
import copy
import json
import math
import pickle
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest

pytest.importorskip("langchain_core")
pytest.importorskip("numpy")

import numpy as np
from langchain_core.documents import Document
from langchain_core.documents.compressor import BaseDocumentCompressor
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.vectorstores import InMemoryVectorStore
from pydantic import BaseModel

from ksdk_rerank import InputOrder, LexicalReranker, Ranked, Ranking, RerankError
from ksdk_rerank.errors import MissingKey
from langchain_ksdk_rerank import RerankCompressor

QUERY = "rotate key"


class Page(Document):
    """A document class of the user's own, with a field that has no default."""

    number: int


class Echo(InputOrder):
    """Remembers the texts that it was given."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def _rank(self, query: str, documents: Sequence[str]) -> Ranking:
        self.texts = list(documents)
        return super()._rank(query, documents)


def pages() -> list[Document]:
    return [
        Document("Colours of a chart.", id="a", metadata={"source": "a.md", "tags": ["x"], "retrieval_score": 3.5}),
        Page(page_content="Rotate a key by hand.", id="b", metadata={"source": "b.md"}, number=7),
        Document("A key opens a door.", id="c", metadata={}),
    ]


async def both(compressor: RerankCompressor, documents: Sequence[Document], query: str = QUERY) -> list[Document]:
    """The result of the synchronous call, once the asynchronous one has given the same."""
    result = compressor.compress_documents(documents, query)
    assert await compressor.acompress_documents(documents, query) == result
    return result


async def test_best_documents_come_first_and_top_n_cuts_the_rest() -> None:
    assert [page.id for page in await both(RerankCompressor("lexical", top_n=None), pages())] == ["b", "c", "a"]
    assert [page.id for page in await both(RerankCompressor("lexical", top_n=2), pages())] == ["b", "c"]
    assert [page.id for page in await both(RerankCompressor("lexical", top_n=9), pages())] == ["b", "c", "a"]


async def test_five_documents_come_back_by_default() -> None:
    assert len(await both(RerankCompressor("lexical"), pages() * 4)) == 5


async def test_scores_are_those_of_the_reranker_and_go_through_json() -> None:
    ranking = LexicalReranker().rank(QUERY, [page.page_content for page in pages()])
    result = await both(RerankCompressor("lexical"), pages())
    assert [page.metadata["relevance_score"] for page in result] == [ranked.score for ranked in ranking]
    assert all(type(page.metadata["relevance_score"]) is float for page in result)
    assert {page.metadata["reranked_by"] for page in result} == {"lexical"}
    assert json.loads(json.dumps([page.metadata for page in result])) == [page.metadata for page in result]


async def test_id_class_and_other_metadata_survive() -> None:
    best, _, last = await both(RerankCompressor(LexicalReranker()), pages())
    assert type(best) is Page
    assert best.number == 7
    assert (best.id, best.metadata["source"]) == ("b", "b.md")
    assert (last.id, last.metadata["tags"], last.metadata["retrieval_score"]) == ("a", ["x"], 3.5)


async def test_the_documents_given_are_not_changed() -> None:
    given = pages()
    before = copy.deepcopy(given)
    result = await both(RerankCompressor("lexical"), given)
    result[0].metadata["mine"] = True
    await both(RerankCompressor("lexical", text=["source"]), given, "colours")
    assert given == before
    assert [page.metadata for page in given] == [page.metadata for page in before]


async def test_the_second_query_leaves_the_result_of_the_first_alone() -> None:
    given, compressor = pages(), RerankCompressor("lexical")
    first = await both(compressor, given)
    kept = copy.deepcopy(first)
    await both(compressor, given, "colours of a chart")
    assert first == kept


async def test_min_score_is_applied_before_top_n() -> None:
    assert [page.id for page in await both(RerankCompressor("lexical", min_score=0.01), pages())] == ["b", "c"]
    assert [page.id for page in await both(RerankCompressor("lexical", min_score=0.01, top_n=1), pages())] == ["b"]
    assert await both(RerankCompressor("lexical", min_score=1.0), pages()) == []


async def test_an_earlier_stages_relevance_score_becomes_the_retrieval_score() -> None:
    [page] = await both(RerankCompressor("lexical"), [Document("A key.", metadata={"relevance_score": 12.0})])
    assert page.metadata["retrieval_score"] == 12.0
    assert 0 < page.metadata["relevance_score"] < 1


async def test_a_retrieval_score_that_is_there_stays() -> None:
    given = [Document("A key.", metadata={"relevance_score": 0.4, "retrieval_score": 12.0})]
    [page] = await both(RerankCompressor("lexical"), given)
    assert page.metadata["retrieval_score"] == 12.0


async def test_a_second_rerank_does_not_take_the_first_ones_score_for_a_retrieval_score() -> None:
    once = await both(RerankCompressor("lexical"), [Document("A key.")])
    [twice] = await both(RerankCompressor("input-order"), once)
    assert twice.metadata == {"relevance_score": None, "reranked_by": "input-order"}


async def test_without_a_score_the_relevance_score_is_none_and_not_an_earlier_stages() -> None:
    given = [Document("A key.", metadata={"relevance_score": 0.9}), Document("A door.")]
    result = await both(RerankCompressor("input-order", min_score=0.5), given)
    assert [page.metadata["relevance_score"] for page in result] == [None, None]
    assert result[0].metadata["retrieval_score"] == 0.9
    json.dumps([page.metadata for page in result])


NO_SCORES = [math.nan, np.float32("nan"), math.inf, -math.inf, "high", "", "nan", True, np.True_, None, [0.3], {}]


@pytest.mark.parametrize("key", ["relevance_score", "retrieval_score"])
@pytest.mark.parametrize(
    "score", [0.25, np.float32(0.25), np.float16(0.25), np.array(0.25), Decimal("0.25"), "0.25"], ids=repr
)
async def test_a_score_of_any_numeric_type_becomes_a_float(key: str, score: Any) -> None:
    [page] = await both(RerankCompressor("lexical"), [Document("A key.", metadata={key: score})])
    assert (page.metadata["retrieval_score"], type(page.metadata["retrieval_score"])) == (0.25, float)
    json.dumps(page.metadata, allow_nan=False)


@pytest.mark.parametrize("key", ["relevance_score", "retrieval_score"])
@pytest.mark.parametrize("score", [*NO_SCORES, np.array([0.3, 0.4]), object()], ids=repr)
async def test_what_is_no_number_is_no_score(key: str, score: Any) -> None:
    [page] = await both(RerankCompressor("lexical"), [Document("A key.", metadata={key: score, "page": 3})])
    assert "retrieval_score" not in page.metadata
    assert page.metadata["page"] == 3
    json.dumps(page.metadata, allow_nan=False)


@pytest.mark.parametrize("score", [np.float32(0.5), np.array(0.5)], ids=repr)
async def test_a_score_that_somebodys_reranker_gives_goes_through_json(score: Any) -> None:
    class Numpy(InputOrder):
        def _rank(self, query: str, documents: Sequence[str]) -> Ranking:
            return Ranking(tuple(Ranked(index, text, score) for index, text in enumerate(documents)), self.name)

    [page] = RerankCompressor(Numpy()).compress_documents([Document("A key.")], QUERY)
    assert page.metadata["relevance_score"] == 0.5
    json.dumps(page.metadata)


async def test_a_second_reranker_of_one_call_leaves_the_retrieval_score() -> None:
    once = await both(RerankCompressor("lexical"), [Document("A key.", metadata={"retrieval_score": 12.5})])
    [twice] = await both(RerankCompressor("input-order"), once)
    [thrice] = await both(RerankCompressor("lexical"), [twice])
    assert [page.metadata["retrieval_score"] for page in (twice, thrice)] == [12.5, 12.5]


def stored_again(pages: Sequence[Document]) -> list[Document]:
    """What LangChain's own vector store gives back for them, by another query."""
    store = InMemoryVectorStore(DeterministicFakeEmbedding(size=4))
    store.add_documents(list(pages))
    return store.similarity_search("anything", k=len(pages))


def as_json(pages: Sequence[Document]) -> list[Document]:
    return [Document.model_validate_json(page.model_dump_json()) for page in pages]


@pytest.mark.parametrize("kept", [list, stored_again, as_json, copy.deepcopy])
async def test_scores_of_an_earlier_call_are_not_taken_for_this_ones(kept: Any) -> None:
    first = [Document("A key.", id="a", metadata={"retrieval_score": 12.5}), Document("A door.", id="b")]
    for reranker in ("lexical", "input-order"):
        found = kept(RerankCompressor(reranker).compress_documents(first, "first query"))
        for page in await both(RerankCompressor("lexical"), found, "second query"):
            assert "retrieval_score" not in page.metadata
            assert page.metadata["reranked_by"] == "lexical"


async def test_what_another_stage_leaves_between_two_rerankers_is_the_same_call() -> None:
    pipelines = pytest.importorskip("langchain_classic.retrievers.document_compressors")

    class Backwards(BaseDocumentCompressor):
        def compress_documents(self, documents: Sequence[Document], query: str, callbacks: Any = None) -> Any:
            return documents[::-1]

    stages = [RerankCompressor("lexical"), Backwards(), RerankCompressor("lexical", top_n=1)]
    pipeline = pipelines.DocumentCompressorPipeline(transformers=stages)
    given = [Document("A door."), Document("A key.", metadata={"retrieval_score": 12.5})]
    for found in (pipeline.compress_documents(given, "key"), await pipeline.acompress_documents(given, "key")):
        assert [page.metadata["retrieval_score"] for page in found] == [12.5]


async def test_blank_documents_come_last_without_a_score() -> None:
    given = [Document(" \n", id="blank"), Document("A key.", id="key")]
    result = await both(RerankCompressor("lexical"), given)
    assert [(page.id, page.metadata["relevance_score"] is None) for page in result] == [("key", False), ("blank", True)]


async def test_no_documents_give_no_documents() -> None:
    assert await both(RerankCompressor("lexical"), []) == []


@pytest.mark.parametrize(
    ("text", "scored"),
    [
        (None, "Body"),
        (["title", "missing", "none", "year"], "Title\n2026\nBody"),
        (("title",), "Title\nBody"),
        ([], "Body"),
        (lambda document: document.metadata["title"].upper(), "TITLE"),
    ],
)
def test_text_says_what_is_scored(text: object, scored: str) -> None:
    echo = Echo()
    document = Document("Body", metadata={"title": "Title", "year": 2026, "none": None})
    [result] = RerankCompressor(echo, text=text).compress_documents([document], QUERY)  # type: ignore[arg-type]
    assert echo.texts == [scored]
    assert result.page_content == "Body"


def test_a_title_can_decide() -> None:
    given = [Document("The same.", metadata={"title": title}) for title in ("Seats", "Rotate a key")]
    [best] = RerankCompressor("lexical", text=["title"], top_n=1).compress_documents(given, QUERY)
    assert best.metadata["title"] == "Rotate a key"


@pytest.mark.parametrize(
    ("arguments", "error", "advice"),
    [
        ({"top_n": 0}, ValueError, "use None to get every document back"),
        ({"top_n": -1}, ValueError, "use None to get every document back"),
        ({"top_n": True}, TypeError, "an integer of at least 1 or None, got True"),
        ({"min_score": 1.5}, ValueError, "between 0 and 1"),
        ({"min_score": float("nan")}, ValueError, "between 0 and 1"),
        ({"text": "title"}, TypeError, r"wrap it in a list: \['title'\]"),
        ({"topn": 3}, TypeError, "topn"),
        ({"reranker": "lexicl"}, ValueError, "use one of: "),
        ({"reranker": 3}, TypeError, "a Reranker or a name"),
    ],
)
def test_wrong_arguments_are_refused_at_construction(
    arguments: dict[str, object], error: type[Exception], advice: str
) -> None:
    with pytest.raises(error, match=advice):
        RerankCompressor(**{"reranker": "lexical", **arguments})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "value", "error", "advice"),
    [
        ("top_n", 0, ValueError, "top_n must be at least 1, got 0"),
        ("top_n", -10, ValueError, "top_n must be at least 1, got -10"),
        ("top_n", "1", TypeError, "top_n must be an integer of at least 1 or None, got '1'"),
        ("top_n", 1.0, TypeError, "top_n must be an integer of at least 1 or None, got 1.0"),
        ("min_score", "a", TypeError, "min_score must be a number, got 'a'"),
        ("min_score", math.nan, ValueError, "min_score must be between 0 and 1, got nan"),
        ("text", "title", TypeError, r"wrap it in a list: \['title'\]"),
        ("text", 5, TypeError, "text must be a function or a sequence of metadata keys, got 5"),
        ("text", ["title", 5], TypeError, "keys are strings"),
        ("reranker", "lexicl", ValueError, "did you mean 'lexical'"),
        ("reranker", 3, TypeError, "a Reranker or a name"),
        ("reranker", "jina:jina-reranker-m0", MissingKey, "JINA_API_KEY"),
    ],
)
def test_assignment_is_checked_as_construction_is(name: str, value: Any, error: type[Exception], advice: str) -> None:
    with pytest.raises(error, match=advice):
        RerankCompressor(**{"reranker": "lexical", name: value})
    compressor = RerankCompressor("lexical", top_n=2)
    before = repr(compressor)
    with pytest.raises(error, match=advice):
        setattr(compressor, name, value)
    assert repr(compressor) == before


def test_what_is_assigned_is_used() -> None:
    compressor = RerankCompressor("lexical")
    compressor.reranker = "input-order"  # type: ignore[assignment]
    compressor.top_n, compressor.min_score = np.int64(1), np.float32(0.5)  # type: ignore[assignment]
    compressor.text = ["source"]  # type: ignore[assignment]
    assert [page.id for page in compressor.compress_documents(pages(), QUERY)] == ["a"]
    assert (type(compressor.top_n), type(compressor.min_score), compressor.text) == (int, float, ("source",))


async def test_a_blank_query_and_what_is_no_document_are_refused() -> None:
    with pytest.raises(ValueError, match="pass the question"):
        RerankCompressor("lexical").compress_documents(pages(), " ")
    with pytest.raises(ValueError, match="pass the question"):
        await RerankCompressor("lexical").acompress_documents(pages(), " ")


def test_copies_and_pickles_work_alike() -> None:
    compressor = RerankCompressor("lexical", top_n=2, min_score=0.01, text=["source"])
    expected = compressor.compress_documents(pages(), QUERY)
    for other in (copy.deepcopy(compressor), pickle.loads(pickle.dumps(compressor)), compressor.model_copy()):
        assert other.compress_documents(pages(), QUERY) == expected
        assert (other.top_n, other.min_score, other.text) == (2, 0.01, ("source",))


def test_it_is_a_field_of_other_models_and_shows_its_settings() -> None:
    class Settings(BaseModel):
        compressor: RerankCompressor

    settings = Settings(compressor=RerankCompressor("lexical", top_n=3))
    assert "top_n=3" in repr(settings)
    assert "LexicalReranker" in repr(settings)


async def test_many_calls_at_once_do_not_mix_up_their_documents() -> None:
    compressor = RerankCompressor("lexical", top_n=1)

    async def best(number: int) -> str:
        given = [Document(f"Word{other} is here.", id=str(other)) for other in range(20)]
        [page] = await compressor.acompress_documents(given, f"word{number}")
        return str(page.id)

    assert await asyncio.gather(*(best(number % 20) for number in range(100))) == [str(n % 20) for n in range(100)]


def test_it_works_in_one_event_loop_after_another() -> None:
    compressor = RerankCompressor("lexical")
    first, second = (asyncio.run(compressor.acompress_documents(pages(), QUERY)) for _ in range(2))
    assert first == second


def test_errors_of_the_reranker_reach_the_caller() -> None:
    class Broken(InputOrder):
        def _rank(self, query: str, documents: Sequence[str]) -> Ranking:
            raise RerankError("no weights")

    with pytest.raises(RerankError, match="no weights"):
        RerankCompressor(Broken()).compress_documents(pages(), QUERY)
