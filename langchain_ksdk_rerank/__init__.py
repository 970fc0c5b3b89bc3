"""KnowledgeSDK search and reranking for LangChain, built on `ksdk_rerank`.

retriever = RerankedRetriever(
    base_retriever=KnowledgeSDKRetriever(k=20),
    compressor=RerankCompressor("cross-encoder/ms-marco-MiniLM-L-6-v2", top_n=5),
)
documents = retriever.invoke("How do I rotate a key?")
"""

from ksdk_rerank.errors import MissingExtra

try:
    import langchain_core  # noqa: F401
except ImportError as error:
    raise MissingExtra.of("langchain", "langchain_ksdk_rerank") from error

from langchain_ksdk_rerank.compressor import RerankCompressor
from langchain_ksdk_rerank.cross_encoder import LangChainCrossEncoder, RerankerCrossEncoder
from langchain_ksdk_rerank.retrievers import KnowledgeSDKRetriever, RerankedRetriever

__all__ = [
    "KnowledgeSDKRetriever",
    "LangChainCrossEncoder",
    "RerankCompressor",
    "RerankedRetriever",
    "RerankerCrossEncoder",
]
