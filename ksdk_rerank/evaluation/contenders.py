"""The rerankers to evaluate: loaded by name, labelled, run and closed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from ksdk_rerank._arguments import ordered
from ksdk_rerank.base import Reranker
from ksdk_rerank.compose._fail_open import Store
from ksdk_rerank.errors import RerankError
from ksdk_rerank.evaluation.run import Outcome, Question, run
from ksdk_rerank.loading import load_reranker
from ksdk_rerank.results import Failure

__all__ = ["Contender", "Given", "Progress", "labelled", "loaded"]

Given = str | Reranker | Mapping[str, object]
"""What `load_reranker` takes: a name, a reranker or a configuration."""

Progress = Callable[[str, int, int], None]
"""Called with the name of the reranker that is running, how many of its queries are done, and the total."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A reranker to evaluate, or the error that kept it from loading."""

    label: str
    reranker: Reranker | RerankError
    closing: ExitStack
    """Closes the reranker if it was loaded here."""

    def run(self, questions: Sequence[Question], store: Store | None, progress: Progress | None) -> list[Outcome]:
        """Run the reranker on all `questions`, then close it if it was loaded here."""
        if isinstance(self.reranker, RerankError):
            failure = Failure(self.label, type(self.reranker).__name__, str(self.reranker))
            return [failure, *[None] * (len(questions) - 1)]
        outcomes = []
        with self.closing:
            for outcome in run(self.reranker, questions, store):
                outcomes.append(outcome)
                if progress is not None:
                    progress(self.label, len(outcomes), len(questions))
        return outcomes


def labelled(rerankers: Sequence[str | Reranker] | Mapping[str, Given]) -> list[tuple[str, Given]]:
    """Each reranker or name with its label in the results; `ValueError` if there are none or one is repeated."""
    if isinstance(rerankers, str):
        raise TypeError(f"rerankers must be a sequence or a mapping, got one name; write [{rerankers!r}]")
    named: list[tuple[str, Given]]
    if isinstance(rerankers, Mapping):
        named = list(rerankers.items())
    else:
        named = [(each if isinstance(each, str) else each.name, each) for each in ordered("rerankers", rerankers)]
        seen = Counter(label for label, _ in named)
        named = [(label if seen[label] == 1 or isinstance(each, str) else repr(each), each) for label, each in named]
        if twice := [label for label, times in Counter(label for label, _ in named).items() if times > 1]:
            raise ValueError(f"{twice[0]} is listed twice; remove one, or pass a mapping with your own labels")
    if not named:
        raise ValueError('there is no reranker to evaluate; name at least one, such as "lexical"')
    return named


@contextmanager
def loaded(named: Iterable[tuple[str, Given]]) -> Iterator[list[Contender]]:
    """Load the rerankers that `labelled` returned; `ValueError` if a name is unknown. Closes what it loaded."""
    with ExitStack() as opened:
        contenders = []
        for label, given in named:
            own = opened.enter_context(ExitStack())
            try:
                reranker = load_reranker(given)
            except RerankError as error:  # a missing key or package
                contenders.append(Contender(label, error, own))
                continue
            if reranker is not given:
                own.callback(reranker.close)
            contenders.append(Contender(label, reranker, own))
        yield contenders
