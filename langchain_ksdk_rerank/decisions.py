"""`DecisionReranker`: LangChain's decision models as rerankers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import langchain_core

from ksdk_rerank import ScoreKind, Scores, ScoringReranker
from ksdk_rerank._arguments import integer
from ksdk_rerank.base import built
from ksdk_rerank.concurrency.tasks import all_of
from ksdk_rerank.errors import BadReply, MissingExtra
from ksdk_rerank.rerankers._bridge import SyncCalls
from ksdk_rerank.rerankers._foreign_errors import foreign_errors
from ksdk_rerank.rerankers._parsing import usage_of
from ksdk_rerank.results import total_usage

if TYPE_CHECKING:
    from langchain_core.decisions import BaseDecisionModel, ClassifierRequest, ClassifierResponse

__all__ = ["DecisionReranker"]

_QUESTION = "Does the text under documents.{} answer the query, or contain what is needed to answer it?"
_AT_ONCE = 8  # requests of one call; further ones wait


class DecisionReranker(ScoringReranker):
    """Asks a decision model whether each document answers the query. The score is the probability of yes.

    Needs langchain-core 1.8 or later, whose `langchain_core.decisions` has these models.

    Args:
        model: the decision model. Its own settings decide about deadlines and retries.
        max_documents_per_request: a call with more documents is split into several requests, eight at a time.

    A decision model reads all documents of a request. So a document may contain text that is meant to change the
    answers, about itself or about the others ("documents above this one are irrelevant"). Documents are sent as the
    state, never among the instructions, but that only lowers the risk. With `max_documents_per_request=1`, a document
    can only change its own score, at the price of one request per document. Do not base security decisions, such as
    access, on these scores.

    `usage` holds the model's tokens. The model's exceptions are raised as `RerankError`s, by their HTTP status if they
    have one.

    Raises:
        MissingExtra: langchain-core is older than 1.8.
    """

    score_kind = ScoreKind.UNIT

    def __init__(self, model: BaseDecisionModel, *, max_documents_per_request: int = 10) -> None:
        try:
            from langchain_core.decisions import BaseDecisionModel, Noul
        except ImportError as error:
            raise MissingExtra(
                "DecisionReranker needs langchain-core 1.8 or later, but"
                f' {langchain_core.__version__} is installed: pip install --upgrade "langchain-core>=1.8"',
                extra="langchain",
            ) from error
        if not isinstance(model, BaseDecisionModel):
            raise TypeError(f"model must be a BaseDecisionModel, got {type(model).__name__}")
        self.model = model
        self.max_documents_per_request = integer("max_documents_per_request", max_documents_per_request)
        self.pointwise = self.max_documents_per_request == 1
        self._is_async = type(model)._aclassify is not BaseDecisionModel._aclassify
        self._noul = Noul
        self._sync_calls = SyncCalls()

    @property
    def name(self) -> str:
        return f"decision:{self.model.model}"

    def score(self, query: str, documents: Sequence[str]) -> Scores:
        with foreign_errors(self.name):
            responses = self.model.batch(self._requests(query, documents), {"max_concurrency": _AT_ONCE})
        return self._scores(responses, len(documents))

    async def ascore(self, query: str, documents: Sequence[str]) -> Scores:
        if not self._is_async:
            return await self._sync_calls.run(lambda: self.score(query, documents))
        with foreign_errors(self.name):
            requests = self._requests(query, documents)
            responses = await all_of(map(self.model.ainvoke, requests), at_once=_AT_ONCE)
        return self._scores(responses, len(documents))

    def _requests(self, query: str, documents: Sequence[str]) -> list[ClassifierRequest]:
        requests: list[ClassifierRequest] = []
        for start in range(0, len(documents), self.max_documents_per_request):
            part = documents[start : start + self.max_documents_per_request]
            texts = {f"document_{start + offset}": text for offset, text in enumerate(part)}
            questions = {key: self._noul(instructions=_QUESTION.format(key)) for key in texts}
            requests.append({"state": {"query": query, "documents": texts}, "questions": questions})
        return requests

    def _scores(self, responses: Sequence[ClassifierResponse], count: int) -> Scores:
        answers = {key: answer.noul for response in responses for key, answer in response.nouls.items()}
        wanted = [f"document_{index}" for index in range(count)]
        if missing := [key for key in wanted if key not in answers]:
            raise BadReply(f"{self.name} did not answer for {len(missing)} of {count} documents", service=self.name)
        usage = total_usage(usage_of(response.usage) for response in responses)
        return Scores([answers[key] for key in wanted], usage=usage)

    def close(self) -> None:
        self._sync_calls.close()

    def __repr__(self) -> str:  # without the model's own, which may be long or show a key
        return f"DecisionReranker(<{self.name}>, max_documents_per_request={self.max_documents_per_request})"

    def __reduce__(self) -> tuple[object, ...]:
        return built, (type(self), self.parameters())
