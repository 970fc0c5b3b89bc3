"""KnowledgeSDK search and reranking for LlamaIndex, built on `ksdk_rerank`."""

from ksdk_rerank.errors import MissingExtra

try:
    from llamaindex_ksdk_rerank.bridge import PostprocessorReranker
    from llamaindex_ksdk_rerank.postprocessor import RerankPostprocessor
    from llamaindex_ksdk_rerank.retriever import KnowledgeSDKRetriever
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "llama_index":
        raise
    raise MissingExtra.of("llamaindex", "llamaindex_ksdk_rerank") from error

__all__ = ["KnowledgeSDKRetriever", "PostprocessorReranker", "RerankPostprocessor"]
