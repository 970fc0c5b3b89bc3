"""`RerankPostprocessor`: passages instead of whole nodes, and a budget of tokens."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pytest

pytest.importorskip("llama_index.core")

from llama_index.core import Document, MockEmbedding, StorageContext, VectorStoreIndex
from llama_index.core.llms import MockLLM
from llama_index.core.node_parser import (
    HierarchicalNodeParser,
    NodeParser,
    SentenceSplitter,
    SentenceWindowNodeParser,
    get_leaf_nodes,
)
from llama_index.core.postprocessor import MetadataReplacementPostProcessor
from llama_index.core.query_engine import CitationQueryEngine, RetrieverQueryEngine
from llama_index.core.retrievers import AutoMergingRetriever, VectorIndexRetriever
from llama_index.core.schema import MediaResource, MetadataMode, Node, NodeRelationship, NodeWithScore, TextNode
from llama_index.core.storage.docstore import SimpleDocumentStore

from ksdk_rerank import LexicalReranker, Passages, Scores
from llamaindex_ksdk_rerank import RerankPostprocessor

QUERY = "rotate key"
KEYS = "# Keys\n\nA door is open. Rotate a key by hand. Nothing to see. Seats are free. Ask the owner of the house."
SHORT = Passages("lexical", max_tokens_per_document=8)
PASSAGE = "Rotate a key by hand."
sentences_of = re.compile(r"[^.]+\.\s*").findall  # LlamaIndex's own splitter may have to download its words


def node(**fields: Any) -> TextNode:
    return TextNode(text=KEYS, id_="keys", metadata={"title": "Page"}, **fields)


async def both(nodes: list[Any], **options: Any) -> list[NodeWithScore]:
    """The result of the synchronous call, once the asynchronous one has given the same."""
    scored = [each if isinstance(each, NodeWithScore) else NodeWithScore(node=each, score=0.5) for each in nodes]
    before = [each.model_copy(deep=True) for each in scored]
    postprocessor = RerankPostprocessor(**{"reranker": SHORT, "passages": True, **options})
    result = postprocessor.postprocess_nodes(scored, query_str=QUERY)
    assert await postprocessor.apostprocess_nodes(scored, query_str=QUERY) == result
    assert scored == before
    return result


async def test_spans_are_in_the_metadata_and_hidden_from_prompts() -> None:
    (found,) = await both([node()], passages=False)
    assert [KEYS[slice(*span)] for span in found.metadata["relevant_spans"]] == [PASSAGE]
    assert found.get_content() == KEYS
    assert found.get_content(metadata_mode=MetadataMode.LLM) == f"title: Page\n\n{KEYS}"


async def test_passages_come_back_as_the_text_and_the_node_keeps_its_id_and_relations() -> None:
    source = Document(text="..." + KEYS, id_="source").as_related_node_info()
    given = node(start_char_idx=3, end_char_idx=3 + len(KEYS), relationships={NodeRelationship.SOURCE: source})
    (found,) = await both([given])
    assert isinstance(found.node, TextNode)
    assert found.node.get_content(metadata_mode=MetadataMode.LLM) == f"title: Page\n\n# Keys\n\n… {PASSAGE}"
    assert (found.node.node_id, found.node.relationships) == ("keys", given.relationships)
    assert found.metadata["original_length"] == len(KEYS)
    assert KEYS[found.metadata["start"] : found.metadata["end"]] == PASSAGE
    assert ("..." + KEYS)[found.node.start_char_idx : found.node.end_char_idx] == PASSAGE


@pytest.mark.parametrize("mode", MetadataMode)
async def test_the_extent_of_an_excerpt_is_not_read_by_a_later_reranker(mode: MetadataMode) -> None:
    class Reader(LexicalReranker):
        def score(self, query: str, documents: Sequence[str]) -> Scores:
            read.extend(documents)
            return super().score(query, documents)

    read: list[str] = []
    (found,) = await both([node()])
    stored = TextNode(text=found.get_content(), metadata=found.metadata)  # a store may keep no list of hidden keys
    later = RerankPostprocessor(reranker=Reader(), metadata_mode=mode)
    (again,) = later.postprocess_nodes([NodeWithScore(node=stored)], query_str=QUERY)
    heading = "" if mode is MetadataMode.NONE else "title: Page\n\n"
    assert read == [f"{heading}# Keys\n\n… {PASSAGE}"]
    assert again.get_content(metadata_mode=MetadataMode.LLM) == f"title: Page\n\n# Keys\n\n… {PASSAGE}"
    assert again.metadata["original_length"] == len(KEYS)  # still true


async def test_metadata_that_only_has_the_names_of_an_extent_is_read() -> None:
    event = TextNode(text="A key.", metadata={"start": "May", "end": "June"})
    (found,) = await both([event], reranker="lexical", passages=False)
    (again,) = await both([found], reranker="lexical", passages=False, metadata_mode=MetadataMode.ALL)
    assert again.get_content(metadata_mode=MetadataMode.LLM) == "start: May\nend: June\n\nA key."


async def test_a_node_of_resources_is_shortened_too() -> None:
    (found,) = await both([Node(text_resource=MediaResource(text=KEYS))])
    assert found.node.get_content() == f"# Keys\n\n… {PASSAGE}"


async def test_the_budget_counts_what_the_llm_reads() -> None:
    door = TextNode(text="A door.", id_="door")
    for limits, expected in (
        ({"max_tokens": 13}, ["keys"]),
        ({"max_tokens": 14}, ["keys", "door"]),
        ({"max_tokens": 9, "skip_oversized": True}, ["door"]),
        ({"max_tokens": 12, "count_tokens": lambda text: len(text.split())}, ["keys", "door"]),
        ({"min_score": 1.0, "min_keep": 1}, ["keys"]),
    ):
        assert [found.node_id for found in await both([door, node()], **limits)] == expected, limits


async def test_the_window_of_a_sentence_is_shortened_and_its_indices_stay() -> None:
    parser = SentenceWindowNodeParser.from_defaults(window_size=2, sentence_splitter=sentences_of)
    sentences = parser.get_nodes_from_documents([Document(text=KEYS)])
    replaced = MetadataReplacementPostProcessor(target_metadata_key="window").postprocess_nodes(
        [NodeWithScore(node=sentences[1])]
    )
    window = replaced[0].get_content()
    assert len(window) > len(PASSAGE) + 10
    (found,) = await both(replaced)
    assert PASSAGE in found.get_content()
    assert len(found.get_content()) < len(window)
    assert found.node.start_char_idx == sentences[1].start_char_idx  # type: ignore[attr-defined]


def test_merged_parents_come_back_as_their_passages_and_the_store_has_the_whole() -> None:
    sizes = {"parents": 64, "leaves": 8}
    splitters: dict[str, NodeParser] = {
        name: SentenceSplitter(chunk_size=size, chunk_overlap=0, chunking_tokenizer_fn=sentences_of)
        for name, size in sizes.items()
    }
    parser = HierarchicalNodeParser.from_defaults(node_parser_ids=[*sizes], node_parser_map=splitters)
    nodes = parser.get_nodes_from_documents([Document(text=KEYS)])
    store = SimpleDocumentStore()
    store.add_documents(nodes)
    context = StorageContext.from_defaults(docstore=store)
    leaves = get_leaf_nodes(nodes)
    index = VectorStoreIndex(leaves, storage_context=context, embed_model=MockEmbedding(embed_dim=4))
    base = VectorIndexRetriever(index, similarity_top_k=len(leaves))
    merging = AutoMergingRetriever(base, context)
    engine = RetrieverQueryEngine.from_args(
        merging, llm=MockLLM(), node_postprocessors=[RerankPostprocessor(reranker=SHORT, passages=True)]
    )
    (found,) = engine.query(QUERY).source_nodes
    assert PASSAGE in found.get_content()
    assert len(found.get_content()) < len(store.get_document(found.node_id).get_content())  # type: ignore[union-attr]


def test_citations_are_of_the_passages() -> None:
    index = VectorStoreIndex([node()], embed_model=MockEmbedding(embed_dim=4))
    engine = CitationQueryEngine.from_args(
        index, llm=MockLLM(), node_postprocessors=[RerankPostprocessor(reranker=SHORT, passages=True)]
    )
    (cited,) = engine.query(QUERY).source_nodes
    assert cited.get_content() == f"Source 1:\n# Keys\n\n… {PASSAGE}\n"
