"""LangChain's document compressors as rerankers."""

from __future__ import annotations

import asyncio
import pickle
import threading
from collections.abc import Callable, Sequence
from typing import Any

import httpx
import pytest

pytest.importorskip("langchain_classic")

from langchain_classic.retrievers.document_compressors import CrossEncoderReranker, LLMChainExtractor, LLMListwiseRerank
from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.runnables import RunnableLambda

from ksdk_rerank import Cached, Cascade, Fallback, Reranker, ScoreKind, errors, load_reranker, to_config
from ksdk_rerank.testing.contract import SubclassContract
from langchain_ksdk_rerank import CompressorReranker, LangChainCrossEncoder, RerankCompressor, RerankerCrossEncoder

Call = Callable[..., Any]

DOCUMENTS = ["a door", " ", "rotate a key", "a key", "a seat"]


class Ranker(FakeListChatModel):
    """A chat model with structured output, which names the documents' ids in the order of its one response."""

    def with_structured_output(self, schema: Any, **_: Any) -> Any:
        return self | RunnableLambda(lambda message: schema(ranked_document_ids=message.content.split()))


class Scored(BaseDocumentCompressor):
    """Rebuilds what it returns, as VertexAIRank does: the text, a score, and the metadata that is left."""

    scores: dict[str, Any]

    def compress_documents(self, documents: Sequence[Document], query: str, callbacks: Any = None) -> list[Document]:
        return [
            Document(document.page_content, metadata={"relevance_score": self.scores[document.page_content]})
            for document in documents
            if document.page_content in self.scores
        ]


class Raising(BaseDocumentCompressor, arbitrary_types_allowed=True):
    error: Exception

    def compress_documents(self, documents: Sequence[Document], query: str, callbacks: Any = None) -> list[Document]:
        raise RuntimeError("the service failed") from self.error


def by_pairs(kind: Any) -> Reranker:
    return LangChainCrossEncoder(RerankerCrossEncoder("lexical"), score_kind=kind)


def order(reranker: Reranker, call: Call) -> list[tuple[int, float | None]]:
    return [(hit.index, hit.score) for hit in call(reranker.rank, "rotate a key", DOCUMENTS)]


class Lengths(BaseDocumentCompressor):
    """Has no asynchronous call of its own."""

    def compress_documents(self, documents: Sequence[Document], query: str, callbacks: Any = None) -> list[Document]:
        scored = {1 / len(document.page_content): document for document in documents}
        for score, document in scored.items():
            document.metadata["relevance_score"] = score
        return [scored[score] for score in sorted(scored, reverse=True)]


class TestContract(SubclassContract):
    @pytest.fixture
    def reranker(self) -> Reranker:
        return CompressorReranker(Lengths())


class TestContractOfAnAsynchronousOne(SubclassContract):
    listwise = True  # as BM25 is

    @pytest.fixture
    def reranker(self) -> Reranker:
        return CompressorReranker(RerankCompressor("lexical", top_n=None))


def test_a_compressor_without_scores_gives_an_order(call: Call) -> None:
    reranker = CompressorReranker(CrossEncoderReranker(model=RerankerCrossEncoder("lexical"), top_n=2))
    assert order(reranker, call) == [(2, None), (3, None), (0, None), (4, None), (1, None)]


def test_an_llm_s_order_is_kept_without_scores_and_what_it_leaves_out_comes_last(call: Call) -> None:
    compressor = LLMListwiseRerank.from_llm(Ranker(responses=["2 1 2"]), top_n=3)  # and one of them twice
    reranker = CompressorReranker(compressor)
    assert order(reranker, call) == [(3, None), (2, None), (0, None), (4, None), (1, None)]
    assert reranker.name == "LLMListwiseRerank"


def test_relevance_scores_are_used_even_if_each_document_was_made_anew(call: Call) -> None:
    reranker = CompressorReranker(Scored(scores={"a key": 0.25, "a seat": 0.5, "a door": 0.25}))
    assert order(reranker, call) == [(4, 0.5), (0, 0.25), (3, 0.25), (2, None), (1, None)]


def test_the_kind_of_scores_can_be_stated() -> None:
    scores = {"a key": -2.0, "a seat": 0.0}
    with pytest.raises(errors.BadReply, match=r"Scored returned the score -2, .* state its score_kind"):
        CompressorReranker(Scored(scores=scores)).rank("q", DOCUMENTS)
    logits = CompressorReranker(Scored(scores=scores), score_kind=ScoreKind.LOGIT).rank("q", DOCUMENTS)
    # sigmoid(-2) = 1 / (1 + e^2) = 0.119203
    assert [(hit.index, hit.score) for hit in logits[:2]] == [(4, 0.5), (3, pytest.approx(0.119203, abs=1e-6))]
    tens = CompressorReranker(Scored(scores={"a key": 9}), score_kind=ScoreKind.BOUNDED, upper_bound=10)
    assert [(hit.index, hit.score, hit.raw_score) for hit in tens.rank("q", DOCUMENTS)[:1]] == [(3, 0.9, 9.0)]
    ignored = CompressorReranker(Scored(scores=scores), score_kind=None).rank("q", DOCUMENTS)
    assert [(hit.index, hit.score) for hit in ignored[:2]] == [(3, None), (4, None)]
    with pytest.raises(errors.BadReply, match=r"documents\[2\] the score nan, which is not a finite number"):
        CompressorReranker(Scored(scores={"a key": float("nan")})).rank("q", DOCUMENTS)
    for wrong in ({"score_kind": ScoreKind.BOUNDED}, {"upper_bound": 10}):
        with pytest.raises(ValueError, match="BOUNDED needs an upper_bound"):
            CompressorReranker(Scored(scores={}), **wrong)


def test_the_ranking_has_the_original_texts_and_a_text_from_nowhere_is_refused(call: Call) -> None:
    rewriting = LLMChainExtractor.from_llm(FakeListChatModel(responses=["in short"]))
    ranking = call(CompressorReranker(rewriting).rank, "q", DOCUMENTS)
    assert [hit.document for hit in ranking] == ["a door", "rotate a key", "a key", "a seat", " "]

    class Summary(Scored):
        def compress_documents(self, documents: Sequence[Document], query: str, callbacks: Any = None) -> Any:
            return [Document("all in one")]

    with pytest.raises(errors.BadReply, match="Summary returned a text that is none of the 4 documents"):
        call(CompressorReranker(Summary(scores={})).rank, "q", DOCUMENTS)


async def test_a_compressor_without_asynchronous_calls_runs_beside_the_loop_with_its_context() -> None:
    threads: set[str] = set()

    class Watched(Scored):
        def compress_documents(self, documents: Sequence[Document], query: str, callbacks: Any = None) -> Any:
            threads.add(threading.current_thread().name)
            return list(documents)

    with CompressorReranker(Watched(scores={})) as reranker:
        await asyncio.gather(*(reranker.arank("q", DOCUMENTS) for _ in range(3)))
    assert {name.rpartition("_")[0] for name in threads} == {"ksdk-rerank-bridge"}


def http_error(status: int, **headers: str) -> httpx.HTTPStatusError:
    request = httpx.Request("POST", "http://127.0.0.1/rerank")
    response = httpx.Response(status, request=request, headers=headers)
    return httpx.HTTPStatusError(f"status {status}", request=request, response=response)


class BotoError(Exception):
    """As botocore's ClientError, which is not installed here."""

    response = {"Error": {"Code": "AccessDenied"}, "ResponseMetadata": {"HTTPStatusCode": 403}}  # noqa: RUF012


class GoogleError(Exception):
    """As those of google.api_core, which is not installed here."""

    code = 429


@pytest.mark.parametrize(
    ("raised", "ours"),
    [
        (http_error(401), errors.Unauthorized),
        (BotoError("denied"), errors.Unauthorized),
        (GoogleError("too many"), errors.RateLimited),
        (httpx.ReadTimeout("slow"), errors.TimedOut),
        (TimeoutError("slow"), errors.TimedOut),
        (KeyError("results"), errors.InferenceFailed),
    ],
)
def test_what_it_raises_becomes_one_of_our_errors(
    call: Call, raised: Exception, ours: type[errors.RerankError]
) -> None:
    with pytest.raises(ours, match=r"^Raising failed: RuntimeError: the service failed"):
        call(CompressorReranker(Raising(error=raised)).rank, "q", DOCUMENTS)


def test_a_fallback_skips_it_as_long_as_its_service_asks(call: Call) -> None:
    limited = CompressorReranker(Raising(error=http_error(429, **{"retry-after": "120"})))
    fallback = Fallback([limited, "lexical"])
    first, second = (call(fallback.rank, "q", DOCUMENTS).failures[0] for _ in range(2))
    assert (first.error, first.skipped, second.error, second.skipped) == ("RateLimited", False, "RateLimited", True)


def test_it_fits_wherever_a_reranker_does(call: Call) -> None:
    calls = []

    class Counted(Scored):
        def compress_documents(self, documents: Sequence[Document], query: str, callbacks: Any = None) -> Any:
            calls.append(len(documents))
            return super().compress_documents(documents, query, callbacks)

    inner = CompressorReranker(Counted(scores={"a key": 0.75, "rotate a key": 0.5}))
    reranker = Cascade("lexical", Cached(inner), keep=2)
    compressor = RerankCompressor(reranker, top_n=1)
    for _ in range(2):
        [best] = call(compressor.compress_documents, [Document(text) for text in DOCUMENTS], "rotate a key")
        assert (best.page_content, best.metadata["relevance_score"]) == ("a key", 0.75)
    assert calls == [2]


def test_it_pickles_with_its_compressor_and_is_never_written_as_a_configuration() -> None:
    reranker = CompressorReranker(Scored(scores={"a key": 5}), score_kind=ScoreKind.BOUNDED, upper_bound=10)
    assert repr(pickle.loads(pickle.dumps(reranker))) == repr(reranker)
    with pytest.raises(TypeError, match=r"CompressorReranker is neither .* pass the reranker itself"):
        to_config(reranker)
    with pytest.raises(TypeError, match="wrap a LangChain compressor in CompressorReranker"):
        load_reranker(reranker.compressor)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="must be a BaseDocumentCompressor, got LexicalReranker"):
        CompressorReranker(load_reranker("lexical"))  # type: ignore[arg-type]


@pytest.mark.parametrize("make", [lambda kind: CompressorReranker(Scored(scores={}), score_kind=kind), by_pairs])
def test_a_score_kind_of_another_type_is_refused_when_it_is_stated(make: Callable[[Any], Reranker]) -> None:
    assert make(None)
    for wrong in ("logit", True, ScoreKind):
        with pytest.raises(TypeError, match=r"score_kind must be one of ScoreKind\.LOGIT"):
            make(wrong)
