"""The retrievers as tools: a chat model asks for them, reads what they found, and answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

pytest.importorskip("langchain_core")

from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolCall, ToolMessage
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool, create_retriever_tool

from ksdk_rerank.testing import KnowledgeSDKStandIn
from langchain_ksdk_rerank import KnowledgeSDKRetriever, RerankCompressor, RerankedRetriever

QUESTION = "Our API key has leaked. What now?"


class ScriptedModel(GenericFakeChatModel):
    """LangChain's fake chat model, with the one method that tool-calling needs of a real one."""

    tools: list[BaseTool] = []  # noqa: RUF012 - a pydantic field

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[Any, AIMessage]:
        self.tools = list(tools)
        return self


def scripted(tool: BaseTool) -> ScriptedModel:
    """First it calls the tool with words of its own, then it answers."""
    [argument] = tool.args
    call = ToolCall(name=tool.name, args={argument: "revoke a leaked key"}, id="call-1")
    return ScriptedModel(messages=iter([AIMessage("", tool_calls=[call]), AIMessage("Revoke it.")]))


async def conversation(tool: BaseTool, *, asynchronous: bool) -> list[BaseMessage]:
    """The loop of every agent: ask, run the tools that are asked for, ask again."""
    model = scripted(tool).bind_tools([tool])
    messages: list[BaseMessage] = [HumanMessage(QUESTION)]
    while True:
        answer = await model.ainvoke(messages) if asynchronous else model.invoke(messages)
        messages.append(answer)
        if not answer.tool_calls:
            return messages
        for call in answer.tool_calls:
            messages.append(await tool.ainvoke(call) if asynchronous else tool.invoke(call))


@pytest.fixture(params=["first stage", "both stages"])
def retriever(request: pytest.FixtureRequest, server: KnowledgeSDKStandIn) -> BaseRetriever:
    first = KnowledgeSDKRetriever(api_key=server.api_key, base_url=server.base_url, k=3)
    if request.param == "first stage":
        return first
    return RerankedRetriever(base_retriever=first, compressor=RerankCompressor("lexical", top_n=1))


@pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning")
@pytest.mark.parametrize("asynchronous", [False, True])
async def test_as_tool_works_in_a_tool_calling_loop(retriever: BaseRetriever, asynchronous: bool) -> None:
    tool = retriever.as_tool(name="search_the_docs", description="Searches our documentation.")
    messages = await conversation(tool, asynchronous=asynchronous)
    assert [type(message) for message in messages] == [HumanMessage, AIMessage, ToolMessage, AIMessage]
    assert "Revoke an API key at once when it has leaked" in str(messages[2].content)
    assert messages[-1].content == "Revoke it."


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_langchains_retriever_tool_works_in_a_tool_calling_loop(
    retriever: BaseRetriever, asynchronous: bool
) -> None:
    tool = create_retriever_tool(retriever, "search_the_docs", "Searches our documentation.")
    messages = await conversation(tool, asynchronous=asynchronous)
    assert str(messages[2].content).startswith("Revoke an API key at once when it has leaked")
    assert messages[-1].content == "Revoke it."
