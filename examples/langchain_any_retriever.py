"""Rerank the results of any LangChain retriever with LangChain's own `ContextualCompressionRetriever`."""

from langchain_classic.retrievers import ContextualCompressionRetriever
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.vectorstores import InMemoryVectorStore

from langchain_ksdk_rerank import RerankCompressor

store = InMemoryVectorStore.from_texts(
    [
        "Invoices are sent on the first day of each month.",
        "A seat that is removed is credited on the next invoice.",
        "Dashboards show at most forty panels.",
        "The agent keeps events on disk while the network is down.",
    ],
    DeterministicFakeEmbedding(size=64),  # your embedding model; this fake is random, so the reranker does the work
)
retriever = ContextualCompressionRetriever(
    base_compressor=RerankCompressor("embedded", top_n=1),
    base_retriever=store.as_retriever(search_kwargs={"k": 4}),
)
print(retriever.invoke("When are invoices sent?")[0].page_content)
