"""The rerankers to evaluate: loaded by name, labelled, run and closed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from ksdk_rerank._arguments import ordered
from ksdk_rerank.base import Reranker
from ksdk_rerank.compose._fail_open import Store
from ksdk_rerank.errors import RerankError
from ksdk_rerank.evaluation.run import Call, Outcome, run
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

    def run(self, calls: Sequence[Call], store: Store | None, progress: Progress | None) -> list[Outcome]:
        """Make all `calls`, then close the reranker if it was loaded here."""
        if isinstance(self.reranker, RerankError):
            failure = Failure(self.label, type(self.reranker).__name__, str(self.reranker))
            return [failure, *[None] * (len(calls) - 1)]
        outcomes = []
        with self.closing:
            for outcome in run(self.reranker, calls, store):
                outcomes.append(outcome)
                if progress is not None:
                    progress(self.label, len(outcomes), len(calls))
        return outcomes


def labelled(rerankers: Sequence[str | Reranker] | Mapping[str, Given]) -> dict[str, Given]:
    """The rerankers by their labels in the results; `ValueError` if there are none or one is repeated."""
    if isinstance(rerankers, str):
        raise TypeError(f"rerankers must be a sequence or a mapping, got one name; write [{rerankers!r}]")
    by_label = dict(rerankers) if isinstance(rerankers, Mapping) else _by_name(ordered("rerankers", rerankers))
    if not by_label:
        raise ValueError('there is no reranker to evaluate; name at least one, such as "lexical"')
    return by_label


def _by_name(rerankers: Sequence[str | Reranker]) -> dict[str, Given]:
    names = [each if isinstance(each, str) else each.name for each in rerankers]
    by_label: dict[str, Given] = {}
    for name, each in zip(names, rerankers, strict=True):
        label = name if isinstance(each, str) or names.count(name) == 1 else repr(each)
        if label in by_label:
            raise ValueError(f"{label} is listed twice; remove one, or pass a mapping with your own labels")
        by_label[label] = each
    return by_label


@contextmanager
def loaded(rerankers: Mapping[str, Given]) -> Iterator[list[Contender]]:
    """Load the rerankers, given by their labels; `ValueError` if a name is unknown. Closes what it loaded."""
    with ExitStack() as opened:
        contenders = []
        for label, given in rerankers.items():
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
