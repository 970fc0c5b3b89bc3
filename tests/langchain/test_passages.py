"""`RerankCompressor`: passages instead of whole documents, and a budget of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

pytest.importorskip("langchain_core")

from langchain_classic.retrievers import ContextualCompressionRetriever, ParentDocumentRetriever
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.stores import InMemoryStore
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_text_splitters import RecursiveCharacterTextSplitter

from ksdk_rerank import LexicalReranker, Passages
from langchain_ksdk_rerank import RerankCompressor

QUERY = "rotate key"
KEYS = "# Keys\n\nA door is open. Rotate a key by hand. Nothing to see. Seats are free. Ask the owner of the house."
SHORT = Passages("lexical", max_tokens_per_document=8)


def pages() -> list[Document]:
    return [Document("A door.", id="door"), Document(KEYS, id="keys", metadata={"title": "Rotate a key"})]


async def both(compressor: RerankCompressor, documents: Sequence[Document]) -> list[Document]:
    """The result of the synchronous call, once the asynchronous one has given the same."""
    before = [document.model_copy(deep=True) for document in documents]
    result = compressor.compress_documents(documents, QUERY)
    assert await compressor.acompress_documents(documents, QUERY) == result
    assert list(documents) == before
    return result


async def test_spans_are_in_the_metadata_and_the_text_is_whole_by_default() -> None:
    keys, door = await both(RerankCompressor(SHORT), pages())
    (span,) = keys.metadata["relevant_spans"]
    assert keys.page_content[slice(*span)] == "Rotate a key by hand."
    assert (keys.page_content, "start" in keys.metadata) == (KEYS, False)
    assert "relevant_spans" not in door.metadata


async def test_passages_come_back_as_the_text_with_their_place() -> None:
    keys, door = await both(RerankCompressor(SHORT, passages=True), pages())
    assert keys.page_content == "# Keys\n\n… Rotate a key by hand."
    assert (keys.id, keys.metadata["title"], keys.metadata["original_length"]) == ("keys", "Rotate a key", len(KEYS))
    assert KEYS[keys.metadata["start"] : keys.metadata["end"]] == "Rotate a key by hand."
    assert (door.page_content, "original_length" in door.metadata) == ("A door.", False)


async def test_any_reranker_finds_passages_when_asked_to() -> None:
    keys, _ = await both(RerankCompressor("lexical", passages=True), pages())
    assert keys.metadata["reranked_by"] == "passages(lexical)"
    assert keys.metadata["relevant_spans"][0] == [KEYS.index("Rotate"), KEYS.index(" Nothing")]


async def test_spans_are_places_in_the_content_if_more_than_that_is_read() -> None:
    keys, _ = await both(RerankCompressor(SHORT, text=["title"], passages=True), pages())
    assert [KEYS[slice(*span)] for span in keys.metadata["relevant_spans"]] == ["Rotate a key by hand."]
    keys, _ = await both(RerankCompressor(SHORT, text=lambda page: page.page_content.upper(), passages=True), pages())
    assert keys.page_content == KEYS, "what was read is not in the content"


async def test_stale_spans_are_dropped() -> None:
    stale = [Document("A key.", metadata={"relevant_spans": [[0, 2]]})]
    assert "relevant_spans" not in (await both(RerankCompressor("lexical"), stale))[0].metadata


async def test_the_budget_counts_what_is_returned() -> None:
    for limits, expected in (
        ({"max_tokens": 10}, ["keys"]),
        ({"max_tokens": 11}, ["keys", "door"]),
        ({"max_tokens": 8}, []),
        ({"max_tokens": 8, "skip_oversized": True}, ["door"]),
        ({"max_tokens": 10, "count_tokens": lambda text: len(text.split())}, ["keys", "door"]),
    ):
        found = await both(RerankCompressor(SHORT, passages=True, **limits), pages())
        assert [document.id for document in found] == expected, limits


async def test_min_keep_keeps_documents_below_min_score() -> None:
    assert len(await both(RerankCompressor("lexical", min_score=1.0), pages())) == 0
    assert [d.id for d in await both(RerankCompressor("lexical", min_score=1.0, min_keep=1), pages())] == ["keys"]


@pytest.mark.parametrize("options", [{"max_tokens": 0}, {"min_keep": -1}, {"count_tokens": 4}])
def test_bad_limits_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        RerankCompressor("lexical", **options)


def test_a_parent_document_comes_back_as_its_passages() -> None:
    retriever = ParentDocumentRetriever(
        vectorstore=InMemoryVectorStore(DeterministicFakeEmbedding(size=8)),
        docstore=InMemoryStore(),
        child_splitter=RecursiveCharacterTextSplitter(chunk_size=40, chunk_overlap=0),
    )
    retriever.add_documents([Document(KEYS, metadata={"source": "keys.md"})], ids=["keys"])
    compressor = RerankCompressor(Passages(LexicalReranker(), max_tokens_per_document=8), passages=True)
    (found,) = ContextualCompressionRetriever(base_compressor=compressor, base_retriever=retriever).invoke(QUERY)
    assert (found.page_content, found.metadata["source"]) == ("# Keys\n\n… Rotate a key by hand.", "keys.md")
    (whole,) = retriever.docstore.mget(["keys"])
    assert whole is not None
    assert whole.page_content == KEYS
