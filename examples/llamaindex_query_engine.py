"""A LlamaIndex query engine over KnowledgeSDK, with a reranker as node postprocessor.

`MockLLM` stands in for your language model: it echoes the prompt, truncated to a few tokens.
"""

from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine

from ksdk_rerank.testing import KnowledgeSDKStandIn
from llamaindex_ksdk_rerank import KnowledgeSDKRetriever, RerankPostprocessor

with KnowledgeSDKStandIn() as server:
    engine = RetrieverQueryEngine.from_args(
        KnowledgeSDKRetriever(similarity_top_k=20, api_key=server.api_key, base_url=server.base_url),
        llm=MockLLM(max_tokens=8),
        node_postprocessors=[RerankPostprocessor(reranker="embedded", top_n=3)],
    )
    response = engine.query("Does the old API key keep working after a rotation?")
    for node in response.source_nodes:
        print(f"{node.score:.2f}  {node.metadata['title']}")
