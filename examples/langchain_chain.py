"""A complete chain in LangChain's expression language: search, rerank, prompt, model, text.

The chat model here returns a fixed answer, so the example runs without a key. Replace it with your own.
"""

from langchain_core.documents import Document
from langchain_core.language_models import FakeListChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnablePassthrough

from ksdk_rerank.testing import KnowledgeSDKStandIn
from langchain_ksdk_rerank import KnowledgeSDKRetriever, RerankCompressor, RerankedRetriever


def as_context(documents: list[Document]) -> str:
    return "\n\n".join(document.page_content for document in documents)


prompt = ChatPromptTemplate.from_template("Answer from these notes.\n\n{context}\n\nQuestion: {question}")
model = FakeListChatModel(responses=["Run `lf keys rotate`; both values work side by side for 24 hours."])

with KnowledgeSDKStandIn() as server:
    retriever = RerankedRetriever(
        base_retriever=KnowledgeSDKRetriever(api_key=server.api_key, base_url=server.base_url),
        compressor=RerankCompressor("embedded", top_n=3),
    )
    notes_and_question = {"context": retriever | as_context, "question": RunnablePassthrough()}
    chain = notes_and_question | prompt | model | StrOutputParser()
    print(chain.invoke("Does the old API key keep working after a rotation?"))
