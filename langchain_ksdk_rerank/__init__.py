"""KnowledgeSDK search and reranking for LangChain, built on `ksdk_rerank`."""

from ksdk_rerank.errors import MissingExtra

try:
    import langchain_core  # noqa: F401
except ImportError as error:
    raise MissingExtra.of("langchain", "langchain_ksdk_rerank") from error

from langchain_ksdk_rerank.bridge import CompressorReranker
from langchain_ksdk_rerank.compressor import RerankCompressor
from langchain_ksdk_rerank.cross_encoders import LangChainCrossEncoder, RerankerCrossEncoder
from langchain_ksdk_rerank.decisions import DecisionReranker
from langchain_ksdk_rerank.retrievers import KnowledgeSDKRetriever, RerankedRetriever

__all__ = [
    "CompressorReranker",
    "DecisionReranker",
    "KnowledgeSDKRetriever",
    "LangChainCrossEncoder",
    "RerankCompressor",
    "RerankedRetriever",
    "RerankerCrossEncoder",
]
