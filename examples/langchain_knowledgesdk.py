"""KnowledgeSDK with LangChain: retrieve twenty candidates, keep the best three.

The stand-in server searches sample pages, offline. Without it, `KnowledgeSDKRetriever()` reads KNOWLEDGESDK_API_KEY.
"""

from ksdk_rerank.testing import KnowledgeSDKStandIn
from langchain_ksdk_rerank import KnowledgeSDKRetriever, RerankCompressor, RerankedRetriever

with KnowledgeSDKStandIn() as server:
    retriever = RerankedRetriever(
        base_retriever=KnowledgeSDKRetriever(k=20, api_key=server.api_key, base_url=server.base_url),
        compressor=RerankCompressor("embedded", top_n=3),
    )
    for document in retriever.invoke("Does the old API key keep working after a rotation?"):
        print(f"{document.metadata['relevance_score']:.2f}  {document.metadata['title']}")
