"""Fixtures: a reranker with scripted scores, and an evaluation of three of them with hostile texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from ksdk_rerank import Reranker, ScoreKind, Scores, ScoringReranker, SearchHit
from ksdk_rerank.errors import Unauthorized
from ksdk_rerank.evaluation import Evaluation, evaluate

Answer = Callable[[str, Sequence[str]], Sequence[float]]


class Scripted(ScoringReranker):
    """Scores as it is told, and counts how often it is asked."""

    score_kind = ScoreKind.LOGIT

    answer: Answer

    def __init__(self, label: str) -> None:
        self.label = label
        self.asked: list[str] = []

    @property
    def name(self) -> str:
        return self.label

    def score(self, query: str, documents: Sequence[str]) -> Scores:
        self.asked.append(query)
        return Scores(self.answer(query, documents), usage={"total_tokens": 10.0})

    async def ascore(self, query: str, documents: Sequence[str]) -> Scores:
        return self.score(query, documents)


@pytest.fixture
def scripted() -> Callable[[str, Answer], Reranker]:
    """Make a reranker from a name and a function of query and documents."""

    def make(label: str, answer: Answer) -> Scripted:
        reranker = Scripted(label)
        reranker.answer = answer  # not an argument: functions have no written form, which a cache needs
        return reranker

    return make


@pytest.fixture
def hostile() -> str:
    """Text that would run as a script, if it were not escaped."""
    return (
        "</script><script>document.title = 'stolen'</script><img src=x onerror=\"document.title='stolen'\"> & %%data%%"
    )


@pytest.fixture
def evaluation(scripted: Callable[[str, Answer], Reranker], hostile: str) -> Evaluation:
    """Three rerankers on eight questions: one that knows the answers, one that is usually wrong, one that fails."""
    queries = {f"q{n}": f"Question {n} {hostile if n == 3 else ''}" for n in range(8)}
    candidates = {
        id: [
            SearchHit(f"d{n}-{m}", f"Text {m} of {n} {hostile}", f"Title {m} {hostile}", f"https://x.com/{m}", 9.0 - m)
            for m in range(6)
        ]
        for n, id in enumerate(queries)
    }
    judgements = {id: {f"d{n}-{n % 6}": 1, "never found": 1} for n, id in enumerate(queries)}

    def knows(query: str, documents: Sequence[str]) -> list[float]:
        wanted = int(query.split()[1]) % 6
        return [4.0 if f"Text {wanted} of" in document else -float(n) for n, document in enumerate(documents)]

    def backwards(query: str, documents: Sequence[str]) -> list[float]:
        return [float(n) for n, _ in enumerate(documents)]

    def refuses(query: str, documents: Sequence[str]) -> list[float]:
        raise Unauthorized(f"wrong key {hostile}")

    rerankers = [scripted("acme/knows", knows), scripted(f"backwards {hostile}", backwards), scripted("no", refuses)]
    return evaluate(rerankers, queries, candidates, judgements)
