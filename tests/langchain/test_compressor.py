"""`RerankCompressor`: scores, copies, limits, and what is scored."""

from __future__ import annotations

import asyncio
import copy
import json
import math
import pickle
from collections.abc import Sequence
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
        self.texts += documents
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


def test_scores_of_numpys_go_through_json_and_what_is_no_number_is_no_score() -> None:
    class Numpy(InputOrder):
        def _rank(self, query: str, documents: Sequence[str]) -> Ranking:
            score: Any = np.float32(0.5)
            return Ranking(tuple(Ranked(index, text, score) for index, text in enumerate(documents)), self.name)

    given = [Document("A key.", metadata={"relevance_score": score}) for score in (np.float32(0.25), math.nan)]
    found, unscored = RerankCompressor(Numpy()).compress_documents(given, QUERY)
    assert json.loads(json.dumps(found.metadata, allow_nan=False)) == found.metadata
    assert (found.metadata["retrieval_score"], found.metadata["relevance_score"]) == (0.25, 0.5)
    assert "retrieval_score" not in unscored.metadata


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


def test_text_says_what_is_scored() -> None:
    echo = Echo()
    document = Document("Body", metadata={"title": "Title"})
    for text in (None, ["title"], {"page": None, "name": "title"}, lambda document: document.metadata["title"].upper()):
        [result] = RerankCompressor(echo, text=text).compress_documents([document], QUERY)
        assert result.page_content == "Body"
    assert echo.texts == ["Body", "Title\nBody", "page: Body\nname: Title", "TITLE"]


def test_a_title_can_decide() -> None:
    given = [Document("The same.", metadata={"title": title}) for title in ("Seats", "Rotate a key")]
    [best] = RerankCompressor("lexical", text=["title"], top_n=1).compress_documents(given, QUERY)
    assert best.metadata["title"] == "Rotate a key"


@pytest.mark.parametrize(
    ("name", "value", "error", "advice"),
    [
        ("top_n", 0, ValueError, "top_n must be at least 1, got 0; use None to get every document back"),
        ("top_n", "1", TypeError, "top_n must be an integer of at least 1 or None, got '1'"),
        ("min_score", "a", TypeError, "min_score must be a number, got 'a'"),
        ("min_score", 1.5, ValueError, "min_score must be between 0 and 1, got 1.5"),
        ("text", "title", TypeError, r"a single key needs a list, such as \['title'\]"),
        ("reranker", "lexicl", ValueError, "did you mean 'lexical'"),
        ("reranker", 3, TypeError, "a Reranker, a name or a configuration"),
        ("reranker", LexicalReranker, TypeError, r"create an instance: LexicalReranker\("),
        ("passages", "maybe", ValueError, "valid boolean"),
        ("skip_oversized", None, ValueError, "valid boolean"),
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


def test_an_argument_of_another_name_is_refused() -> None:
    with pytest.raises(TypeError, match="topn"):
        RerankCompressor("lexical", topn=3)  # type: ignore[call-arg]


def test_a_configuration_is_accepted_as_the_reranker() -> None:
    compressor = RerankCompressor({"class": "LexicalReranker", "parameters": {"k1": 2.0}})
    assert repr(compressor.reranker) == "LexicalReranker(k1=2.0)"


def test_what_is_assigned_is_used() -> None:
    compressor = RerankCompressor("lexical")
    compressor.reranker = "input-order"  # type: ignore[assignment]
    compressor.top_n, compressor.min_score = np.int64(1), np.float32(0.5)  # type: ignore[assignment]
    compressor.text = ["source"]  # type: ignore[assignment]
    assert [page.id for page in compressor.compress_documents(pages(), QUERY)] == ["a"]
    assert (type(compressor.top_n), type(compressor.min_score), compressor.text) == (int, float, ("source",))


async def test_a_blank_query_and_what_is_no_document_are_refused() -> None:
    with pytest.raises(ValueError, match="pass a question"):
        RerankCompressor("lexical").compress_documents(pages(), " ")
    with pytest.raises(ValueError, match="pass a question"):
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
