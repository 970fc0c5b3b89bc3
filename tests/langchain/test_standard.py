"""LangChain's own standard tests for retrievers."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("langchain_tests")

from langchain_core.retrievers import BaseRetriever
from langchain_tests.integration_tests import RetrieversIntegrationTests

from ksdk_rerank.testing import KnowledgeSDKStandIn
from langchain_ksdk_rerank import KnowledgeSDKRetriever, RerankCompressor, RerankedRetriever


class WithServer(RetrieversIntegrationTests):
    """The suite over the stand-in server."""

    @pytest.fixture(autouse=True)
    def _use(self, server: KnowledgeSDKStandIn) -> None:
        self.first_stage = {"api_key": server.api_key, "base_url": server.base_url}

    @property
    def retriever_query_example(self) -> str:
        return "key"


class TestKnowledgeSDKRetriever(WithServer):
    @property
    def retriever_constructor(self) -> type[BaseRetriever]:
        return KnowledgeSDKRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return self.first_stage


class TestRerankedRetriever(WithServer):
    @property
    def retriever_constructor(self) -> type[BaseRetriever]:
        return RerankedRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        base = KnowledgeSDKRetriever(**self.first_stage)  # type: ignore[arg-type]
        return {"base_retriever": base, "compressor": RerankCompressor("lexical")}
