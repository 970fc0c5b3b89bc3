"""LangChain's decision models as rerankers."""

from __future__ import annotations

import asyncio
import pickle
import sys
from collections.abc import Callable, Mapping
from typing import Any

import pytest

pytest.importorskip("langchain_core")

from ksdk_rerank import Cached, Fallback, Reranker, errors
from ksdk_rerank.testing.contract import SubclassContract
from langchain_ksdk_rerank import DecisionReranker

Call = Callable[..., Any]

try:
    from langchain_core.decisions import BaseDecisionModel, ClassifierResponse

    has_decisions = True
except ImportError:  # before 1.8
    BaseDecisionModel = object  # type: ignore[assignment, misc]
    has_decisions = False

needs_decisions = pytest.mark.skipif(not has_decisions, reason="langchain-core before 1.8")


class Lengths(BaseDecisionModel):
    """Says yes to short texts. Counts what it is asked."""

    model: str = "lengths-1"
    asked: list[tuple[Any, Mapping[str, Any]]] = []  # noqa: RUF012 - pydantic copies it
    silent: bool = False

    @property
    def _provider(self) -> str:
        return "nobody"

    def _classify(self, state: Any, questions: Mapping[str, Any]) -> ClassifierResponse:
        self.asked.append((state, questions))
        answers = {key: {"type": "noul", "noul": 1 / len(state["documents"][key])} for key in questions}
        usage = {"input_tokens": 10, "output_tokens": len(answers)}
        return ClassifierResponse.model_validate(
            {"model": self.model, "answers": {} if self.silent else answers, "usage": usage}
        )


class Native(Lengths):
    async def _aclassify(self, state: Any, questions: Mapping[str, Any]) -> ClassifierResponse:
        return self._classify(state, questions)


class Limited(Lengths):
    def _classify(self, state: Any, questions: Mapping[str, Any]) -> ClassifierResponse:
        error = RuntimeError("too many requests")
        error.status_code = 429  # type: ignore[attr-defined]
        raise error


@needs_decisions
@pytest.mark.parametrize("model", [Lengths, Native])
class TestContract(SubclassContract):
    @pytest.fixture
    def reranker(self, model: type[Lengths]) -> Reranker:
        return DecisionReranker(model(), max_documents_per_request=2)


@needs_decisions
def test_each_document_gets_its_probability_in_requests_of_a_bounded_size(call: Call) -> None:
    model = Native()
    ranking = call(DecisionReranker(model, max_documents_per_request=2).rank, "key?", ["aaaa", "a", "aa", "aaaaa", " "])
    assert [(hit.index, hit.score) for hit in ranking] == [(1, 1.0), (2, 0.5), (0, 0.25), (3, 0.2), (4, None)]
    assert (ranking.reranked_by, ranking.usage) == (
        "decision:lengths-1",
        {"input_tokens": 20, "output_tokens": 4, "total_tokens": 24},
    )
    states, questions = zip(*sorted(model.asked, key=lambda one: min(one[1])), strict=True)
    assert states == (
        {"query": "key?", "documents": {"document_0": "aaaa", "document_1": "a"}},
        {"query": "key?", "documents": {"document_2": "aa", "document_3": "aaaaa"}},
    )
    assert {key: question.type for part in questions for key, question in part.items()} == {
        f"document_{index}": "noul" for index in range(4)
    }
    for part in questions:  # texts stay out of what the model is told to do
        assert not [question for question in part.values() if "aa" in question.instructions]


@needs_decisions
def test_scores_are_cached_by_document_only_if_each_is_asked_about_alone(call: Call) -> None:
    together, alone = Native(), Native()
    for reranker in (DecisionReranker(together), DecisionReranker(alone, max_documents_per_request=1)):
        cached = Cached(reranker)
        call(cached.rank, "q", ["a", "bb"])
        call(cached.rank, "q", ["bb", "ccc"])
    assert [len(questions) for _, questions in together.asked] == [2, 2]
    assert len(alone.asked) == 3


@needs_decisions
def test_a_missing_answer_and_a_failed_request_move_a_fallback_on(call: Call) -> None:
    with pytest.raises(errors.BadReply, match="decision:lengths-1 did not answer for 2 of 2 documents"):
        call(DecisionReranker(Native(silent=True)).rank, "q", ["a", "b"])
    ranking = call(Fallback([DecisionReranker(Limited()), "input-order"]).rank, "q", ["a", "b"])
    assert [failure.error for failure in ranking.failures] == ["RateLimited"]


@needs_decisions
async def test_no_request_outlives_a_call_that_fails() -> None:
    ended: list[str] = []

    class OneFails(Lengths):
        async def _aclassify(self, state: Any, questions: Mapping[str, Any]) -> ClassifierResponse:
            if "document_0" in questions:
                await asyncio.sleep(0.01)
                raise RuntimeError("down")
            try:
                await asyncio.sleep(30)
            finally:
                await asyncio.sleep(0.01)  # as closing a connection takes
                ended.extend(questions)
            raise AssertionError

    with pytest.raises(errors.RerankError, match="down"):
        await DecisionReranker(OneFails(), max_documents_per_request=1).arank("q", ["a", "b", "c"])
    assert sorted(ended) == ["document_1", "document_2"]


@needs_decisions
def test_it_pickles_and_checks_its_arguments() -> None:
    reranker = DecisionReranker(Native(), max_documents_per_request=3)
    assert pickle.loads(pickle.dumps(reranker)).max_documents_per_request == 3
    with pytest.raises(ValueError, match="max_documents_per_request must be"):
        DecisionReranker(Native(), max_documents_per_request=0)
    with pytest.raises(TypeError, match="must be a BaseDecisionModel, got str"):
        DecisionReranker("lengths-1")  # type: ignore[arg-type]


def test_an_older_langchain_core_is_told_by_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "langchain_core.decisions", None)  # importing it now fails
    with pytest.raises(errors.MissingExtra, match=r'needs langchain-core 1\.8 .* --upgrade "langchain-core>=1\.8"'):
        DecisionReranker(object())  # type: ignore[arg-type]
