"""The documented limits of each server: what is longer is cut and counted, never sent to be refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ksdk_rerank import Fallback, JinaReranker, errors
from ksdk_rerank.rerankers._limits import Limits
from ksdk_rerank.testing import Fault, LocalServer, Reply, Request

Call = Callable[..., Any]
LONGEST = {"infinity": 122_880, "tei": 150_000}  # characters


def texts_of(request: Any) -> list[str]:
    body = request.json()
    texts = next(value for value in body.values() if isinstance(value, list))
    return [each["text"] if isinstance(each, dict) else each for each in texts]


@pytest.mark.parametrize("name", LONGEST)
def test_a_document_of_more_characters_than_the_server_takes_is_cut_and_counted(
    call: Call, provider_named: Callable[[str], Any], name: str
) -> None:
    longest = LONGEST[name]
    provider = provider_named(name)
    documents = ["0.1 " + "é" * (longest - 4), "0.2 " + "é" * longest, "0.3 " + "😀" * 2 * longest, "0.4 short"]
    with provider.reranker() as leaf:
        ranking = call(leaf.rank, "q", documents)
    sent = {text[:3]: text for request in provider.server.requests for text in texts_of(request)}
    assert {start: len(text) for start, text in sent.items()} == {
        "0.1": longest,
        "0.2": longest,
        "0.3": longest,
        "0.4": 9,
    }
    assert all(documents[ranked.index] == ranked.document for ranked in ranking)
    assert (ranking.indices, ranking.truncated) == ((3, 2, 1, 0), 2)


@pytest.mark.parametrize("name", LONGEST)
def test_a_long_document_that_begins_with_white_space_is_not_cut_to_nothing(
    provider_named: Callable[[str], Any], name: str
) -> None:
    provider = provider_named(name)
    with provider.reranker() as leaf:
        ranking = leaf.rank("q", [" " * 200_000 + "0.5 text" + " " * 200_000])
    assert [texts_of(request) for request in provider.server.requests] == [["0.5 text"]]
    assert ranking.truncated == 0


@pytest.mark.parametrize("name", LONGEST)
def test_a_query_of_more_characters_than_the_server_takes_is_cut_visibly(
    call: Call, provider_named: Callable[[str], Any], caplog: pytest.LogCaptureFixture, name: str
) -> None:
    provider = provider_named(name)
    with provider.reranker(max_documents_per_request=1) as leaf:
        rankings = [call(leaf.rank, "a pasted log " * 30_000, ["0.5 text", "0.4 text"]) for _ in range(2)]
        assert not call(leaf.rank, "a pasted log", ["0.5 text"]).query_truncated
    assert [ranking.query_truncated for ranking in rankings] == [True, True]
    assert {len(request.json()["query"]) for request in provider.server.requests} == {LONGEST[name], 12}
    assert [record.getMessage() for record in caplog.records] == [
        f"{leaf.name}: the query was truncated to {LONGEST[name]} characters, the most that the service accepts;"
        " Ranking.query_truncated reports it for every call, this warning appears once"
    ]


@pytest.mark.parametrize("name", ["cohere", "infinity", "nvidia", "openrouter", "tei"])
def test_longer_documents_are_cut_to_the_characters_that_are_asked_for(
    call: Call, provider_named: Callable[[str], Any], name: str
) -> None:
    provider = provider_named(name)
    documents = ["0.1 éa", "0.2 longer", "  0.3 " + "a" * 200_000, "0.4 wide          "]
    with provider.reranker(max_chars_per_document=8) as leaf:
        ranking = call(leaf.rank, "a long query is not cut", documents)
    (request,) = provider.server.requests
    assert texts_of(request) == ["0.1 éa", "0.2 long", "0.3 aaaa", "0.4 wide"]
    assert "a long query is not cut" in str(request.json()["query"])
    assert (ranking.truncated, ranking.query_truncated) == (2, False)
    assert [hit.document for hit in ranking] == documents[::-1]


def test_a_cap_above_the_server_s_own_changes_nothing(provider_named: Callable[[str], Any]) -> None:
    tei = provider_named("tei")
    with tei.reranker(max_chars_per_document=200_000) as leaf:
        assert leaf.rank("q", ["a" * 180_000]).truncated == 1
    assert [len(text) for request in tei.server.requests for text in texts_of(request)] == [150_000]


def test_a_cap_in_tokens_is_a_field_that_the_server_applies(provider_named: Callable[[str], Any]) -> None:
    for name in ("cohere", "vllm"):
        provider = provider_named(name)
        with provider.reranker(max_tokens_per_document=64) as leaf:
            assert leaf.rank("q", ["0.1 a " * 999]).truncated == 0
        assert provider.server.requests[0].json()["max_tokens_per_doc"] == 64


@pytest.mark.parametrize("name", ["cohere", "jina", "vllm"])
def test_a_server_that_cuts_by_itself_gets_whole_texts(provider_named: Callable[[str], Any], name: str) -> None:
    provider = provider_named(name)
    with provider.reranker() as leaf:
        ranking = leaf.rank("q" * 300_000, ["0.5 " + "a" * 300_000])
    (request,) = provider.server.requests
    assert (len(request.json()["query"]), len(texts_of(request)[0])) == (300_000, 300_004)
    assert (ranking.truncated, ranking.query_truncated) == (0, False)


@pytest.mark.parametrize("character", ["a", "\x01", "é", "😀", '"'])
def test_a_request_to_tei_stays_below_its_payload_limit(provider_named: Callable[[str], Any], character: str) -> None:
    tei = provider_named("tei")
    documents = [f"0.{index + 10} " + character * (40_000 * (index % 5)) for index in range(40)]
    with tei.reranker() as leaf:
        ranking = leaf.rank(character * 200_000, documents)
    assert max(len(request.body) for request in tei.server.requests) <= 2_000_000
    assert max(len(texts_of(request)) for request in tei.server.requests) <= 32
    assert ranking.indices == tuple(range(39, -1, -1))
    assert ranking.truncated == 8  # those of 160,000 characters


def test_short_documents_are_not_sent_in_more_requests_than_before(provider_named: Callable[[str], Any]) -> None:
    tei = provider_named("tei")
    with tei.reranker() as leaf:
        leaf.rank("q", [f"0.{index + 10} " + "a" * 20_000 for index in range(64)])
    assert [len(texts_of(request)) for request in tei.server.requests] == [32, 32]


def test_who_wants_no_splitting_gets_one_request_whatever_its_size(provider_named: Callable[[str], Any]) -> None:
    tei = provider_named("tei")
    with tei.reranker(max_documents_per_request=None) as leaf:
        leaf.rank("q", [f"0.{index + 10} " + "a" * 100_000 for index in range(40)])
    assert [len(texts_of(request)) for request in tei.server.requests] == [40]


NOT_A_RERANKER = [
    {"error": "model is not a re-ranker model", "error_type": "Backend"},
    {"error": "Backend error: model is not a re-ranker model", "error_type": "backend"},
    {"message": "Model is not an embedding model", "code": 424, "type": "backend"},
    {"error_type": "Backend", "reason": "model is not a classifier model"},
    b"model is not a re-ranker model",
]


@pytest.mark.parametrize("body", NOT_A_RERANKER)
def test_tei_s_424_for_a_model_that_is_no_reranker_is_final(provider_named: Callable[[str], Any], body: object) -> None:
    tei = provider_named("tei")
    with (
        Fallback([tei.reranker(retries=2), "input-order"]) as reranker,
        tei.server.failing(Fault(status=424, body=body)),
        pytest.raises(errors.NotFound, match="check base_url and the model's name"),
    ):
        reranker.rank("q", ["a"])
    assert len(tei.server.requests) == 1


@pytest.mark.parametrize(
    "body",
    [
        {"error": "Inference failed", "error_type": "Backend"},
        {"error": "DriverError(CUDA_ERROR_OUT_OF_MEMORY)", "error_type": "Backend"},
        {"error": "score is NaN", "error_type": "Backend"},
        b"",
        b"\xff",
    ],
)
def test_any_other_424_of_tei_is_transient(provider_named: Callable[[str], Any], body: object) -> None:
    tei = provider_named("tei")
    fault = Fault(status=424, body=body, headers={"retry-after": "0"})
    with tei.reranker(retries=1, timeout=5.0) as leaf, tei.server.failing(fault):
        with pytest.raises(errors.ServerError):
            leaf.rank("q", ["a"])
        assert len(tei.server.requests) == 2


def test_a_service_s_documented_limit_splits_a_call_unless_another_is_given() -> None:
    class Limited(JinaReranker):
        _limits = Limits(documents=2)

    def answer(request: Request) -> Reply:
        texts = request.json()["documents"]  # type: ignore[index]
        return Reply.json({"results": [{"index": index, "relevance_score": 0.5} for index, _ in enumerate(texts)]})

    for most, expected in ((None, [1, 2, 2]), (4, [1, 4])):
        with LocalServer(answer) as server, Limited(base_url=server.url, max_documents_per_request=most) as leaf:
            leaf.rank("q", list("abcde"))
            assert sorted(len(texts_of(request)) for request in server.requests) == expected
