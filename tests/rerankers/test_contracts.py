"""The leaves that need no network and no model keep the contract."""

from __future__ import annotations

import pytest

from ksdk_rerank import InputOrder, LexicalReranker, Reranker
from ksdk_rerank.testing.contract import SubclassContract


class TestLexicalReranker(SubclassContract):
    listwise = True  # words are rare or common among the candidates

    @pytest.fixture
    def reranker(self) -> Reranker:
        return LexicalReranker(k1=1.5)


class TestInputOrder(SubclassContract):
    @pytest.fixture
    def reranker(self) -> Reranker:
        return InputOrder()
