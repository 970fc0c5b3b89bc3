"""`RerankerContract`: tests of what every reranker promises, as a pytest class to inherit from.

    import pytest
    from ksdk_rerank.testing import RerankerContract

    class TestMyReranker(RerankerContract):
        @pytest.fixture
        def reranker(self):
            with MyReranker(url=...) as reranker:
                yield reranker

Every inherited test then runs against `MyReranker`. You need pytest but no plugins: asynchronous calls run in
`asyncio.run`. If a reranker by its nature cannot keep a promise, switch that promise off with a class attribute.
Readers notice the attribute; they might miss an overridden test.

A class that leaves `rank` and `arank` to its base class inherits their argument checks, `top_n` and `min_score`. If
another test class covers these already, inherit from `SubclassContract` in this module, which has all other tests.
"""

from __future__ import annotations

import math

import pytest

from ksdk_rerank.base import Reranker
from ksdk_rerank.results import Ranked
from ksdk_rerank.testing._promises import Promises, Rank, by_scores

__all__ = ["RerankerContract", "SubclassContract"]


class SubclassContract(Promises):
    """The part of `RerankerContract` that does not test `rank` and `arank` themselves.

    For rerankers that inherit both, if another test class covers them. The attributes are the same.
    """

    def test_rank_and_arank_are_inherited(self, reranker: Reranker) -> None:
        own = [name for name in ("rank", "arank") if getattr(type(reranker), name) is not getattr(Reranker, name)]
        assert not own, f"{type(reranker).__name__} overrides {own}: inherit from RerankerContract, which tests them"


class RerankerContract(Promises):
    """Inherit from this class and override the fixture `reranker`; the module docstring has an example.

    Attributes:
        query: the query of the tests. If a model needs a certain kind of text, override it together with `documents`.
        documents: the candidates: at least four texts, all different, none blank, short enough for the model.
        deterministic: whether repeating a call gives the same ranking. False skips comparisons between two calls.
        listwise: whether a document's score depends on the other candidates. True skips the test that it does not.
            Set it for wrappers that cannot tell, such as `Fusion`.
        tolerance: maximum difference, relative or absolute, between two scores for the same text. Inside a model, sums
            depend slightly on the rest of the batch.
        secrets: keys the reranker was built with. They must not appear in its `repr`, `parameters()` or pickle.
        key_arguments: constructor arguments that take keys; they may be missing from `parameters()`.
    """

    def test_inputs_are_not_changed(self, rank: Rank) -> None:
        documents = [*self.documents, " ", *self.documents]
        before = list(documents)
        rank(self.query, documents, top_n=2)
        assert documents == before, "the list of documents was changed"

    def test_nothing_to_rank_costs_nothing(self, rank: Rank) -> None:
        for documents in ([], ["", "  "]):
            ranking = rank(self.query, documents)
            assert ranking.results == tuple(Ranked(index, blank) for index, blank in enumerate(documents))
            assert not ranking.usage, f"usage without a call: {ranking.usage}"

    def test_top_n_returns_the_best_and_all_when_there_are_fewer(self, rank: Rank) -> None:
        whole = rank(self.query, self.documents)
        for top_n in (1, 2, len(self.documents), 1000):
            cut = rank(self.query, self.documents, top_n=top_n)
            assert len(cut) == min(top_n, len(self.documents)), f"{len(cut)} documents for top_n={top_n}"
            if self.deterministic:
                assert cut.indices == whole.indices[:top_n], f"top_n={top_n} changes the order"

    def test_min_score_keeps_the_scored_documents_that_reach_it(self, rank: Rank) -> None:
        whole = rank(self.query, self.documents)
        scored, _ = by_scores(whole)
        if not scored:
            assert rank(self.query, self.documents, min_score=1.0).indices == whole.indices, (
                "min_score cut without scores"
            )
        for ranked in rank(self.query, self.documents, min_score=0.5):
            assert not scored or (ranked.score is not None and ranked.score >= 0.5), f"{ranked} is below 0.5"

    def test_options_out_of_range_are_refused(self, rank: Rank) -> None:
        for option, values in {"top_n": (0, -1), "min_score": (-0.1, 1.1, math.nan)}.items():
            for value in values:
                with pytest.raises(ValueError, match=option):
                    rank(self.query, self.documents, **{option: value})

    def test_documents_that_are_no_list_of_strings_are_refused(self, rank: Rank) -> None:
        with pytest.raises(TypeError, match="list"):
            rank(self.query, self.documents[0])
        with pytest.raises(TypeError, match=r"documents\[1\]"):
            rank(self.query, [self.documents[0], None])

    def test_a_blank_query_is_refused(self, rank: Rank) -> None:
        for query in ("", " \n"):
            with pytest.raises(ValueError, match="query"):
                rank(query, self.documents)
