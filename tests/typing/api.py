"""The public API as users type it: mypy --strict reads this file, nothing runs it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_type

from ksdk_rerank import (
    Cached,
    Calibrated,
    Cascade,
    CohereReranker,
    CrossEncoderReranker,
    Deduplicated,
    Failure,
    Fallback,
    Fusion,
    InfinityReranker,
    InputOrder,
    JinaReranker,
    KnowledgeSDKClient,
    LexicalReranker,
    LongDocuments,
    NVIDIAReranker,
    Passages,
    Ranked,
    Ranking,
    RerankEndpoint,
    Reranker,
    ScoreKind,
    Scores,
    ScoringReranker,
    SearchHit,
    SearchResults,
    TEIReranker,
    Timeout,
    VLLMReranker,
    VoyageReranker,
    calibrated,
    from_config,
    load_reranker,
    to_config,
)
from ksdk_rerank.evaluation import Evaluation, evaluate
from langchain_ksdk_rerank import RerankCompressor, RerankerCrossEncoder
from llamaindex_ksdk_rerank import RerankPostprocessor


def rank(reranker: Reranker) -> None:
    ranking = reranker.rank("query", ["a", "b"], top_n=1, min_score=0.5, min_keep=1)
    assert_type(ranking, Ranking)
    assert_type(ranking[0], Ranked)
    assert_type(ranking[:2], tuple[Ranked, ...])
    assert_type(ranking[0].score, float | None)
    assert_type([hit.document for hit in ranking], list[str])
    assert_type(ranking[0].spans, tuple[tuple[int, int], ...])
    assert_type(ranking[0].span, tuple[int, int] | None)
    assert_type(ranking[0].excerpt(), str)
    assert_type(ranking.within(2000, count=len, passages=True, skip_oversized=True), Ranking)
    assert_type(ranking.details(), dict[str, object])


async def arank(reranker: Reranker) -> None:
    assert_type(await reranker.arank("query", ("a", "b")), Ranking)


def rank_many(reranker: Reranker) -> None:
    assert_type(reranker.rank_many(["query"], [["a", "b"]], top_n=1, max_concurrency=2, progress=print), list[Ranking])
    assert_type(reranker.rank_many(["query"], [("a", "b")], return_exceptions=True), list[Ranking | Exception])


async def arank_many(reranker: Reranker) -> None:
    await reranker.awarm_up()
    assert_type(await reranker.arank_many(("query",), [["a", "b"]]), list[Ranking])


def build() -> None:
    assert_type(load_reranker("lexical"), Reranker)
    assert_type(load_reranker({"class": "LexicalReranker"}), Reranker)
    assert_type(from_config(to_config(LexicalReranker())), Reranker)
    rank(LexicalReranker(k1=1.2, b=0.75))
    rank(InputOrder())
    rank(CrossEncoderReranker("BAAI/bge-reranker-large", backend="onnx", max_length=256, timeout=2.0, max_waiting=20))
    rank(CrossEncoderReranker("Qwen/Qwen3-Reranker-0.6B", instruction="Prefer news", label=None))
    rank(VLLMReranker("http://localhost:8000", instruction="Prefer news"))
    with CrossEncoderReranker() as reranker:
        assert_type(reranker, CrossEncoderReranker)

    rank(CohereReranker("rerank-v3.5", timeout=Timeout(total=2.0)))
    for hosted in (JinaReranker(api_key="key"), VoyageReranker("rerank-2.5-lite"), NVIDIAReranker(base_url="http://a")):
        rank(hosted)
    rank(
        RerankEndpoint(
            "http://a",
            "m",
            scores="logit",
            extra_headers={"X-Title": "t"},
            extra_body={"top": {"a": [1]}},
            max_chars_per_document=9_000,
        )
    )
    for server in (TEIReranker("http://a"), VLLMReranker("http://a", model="m"), InfinityReranker("http://a")):
        rank(server)


def compose(reranker: Reranker) -> None:
    for wrapper in (
        Fallback([reranker, "input-order"], cool_down=5.0),
        Cascade("lexical", reranker, keep=20),
        Fusion([reranker, InputOrder()], weights=[2.0, 1.0]),
        LongDocuments(reranker, window=256, pool="mean", max_windows=64),
        Passages(reranker, max_tokens_per_document=100, language="de"),
        Deduplicated(reranker, by="near"),
        Cached(reranker, ttl=60.0),
        Calibrated(reranker, slope=0.5, intercept=0),
        calibrated(reranker, {"query": {"relevant": 1, "not": False}}),
    ):
        rank(wrapper)
    assert_type(reranker.rank("q", ["a"]).failures, tuple[Failure, ...])
    RerankCompressor(reranker, top_n=3, text=["title"])
    RerankCompressor("lexical", min_score=0.5, text={"title": "title", "text": None})
    RerankCompressor({"class": "LexicalReranker"})
    RerankCompressor(to_config(reranker))
    RerankerCrossEncoder({"class": "LexicalReranker"})
    RerankPostprocessor(reranker=reranker, top_n=None)
    RerankPostprocessor(reranker="lexical").reranker = {"class": "LexicalReranker"}
    RerankPostprocessor(reranker=to_config(reranker))


def measure(client: KnowledgeSDKClient) -> None:
    found = {"q1": client.search("query")}
    assert_type(evaluate(["lexical"], {"q1": "query"}, found, {"q1": {"d1": 1}}), Evaluation)


def search(client: KnowledgeSDKClient) -> None:
    results = client.search("query", 20, extra={"category": "Pricing"})
    assert_type(results, SearchResults)
    assert_type(results[0], SearchHit)
    assert_type(results.texts, list[str])
    KnowledgeSDKClient("key", timeout=5.0)
    KnowledgeSDKClient("key", timeout=Timeout(connect=1.0, total=9.0))


class Mine(ScoringReranker):
    """A reranker of a user's own."""

    score_kind = ScoreKind.UNIT

    @property
    def name(self) -> str:
        return "mine"

    def score(self, query: str, documents: Sequence[str]) -> Scores:
        return Scores([0.5 for _ in documents])

    async def ascore(self, query: str, documents: Sequence[str]) -> Scores:
        return self.score(query, documents)
