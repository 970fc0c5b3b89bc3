from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from ksdk_rerank.testing import Fault, KnowledgeSDKStandIn


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "billing").mkdir()
    (tmp_path / "billing" / "invoices.md").write_text(
        "# Invoices\n\nAn invoice is sent monthly.\n\n## Due dates\n\nPay the invoice within 30 days.\n"
    )
    (tmp_path / "keys.md").write_text("# Keys\n\nRotate the key every quarter.\n")
    return tmp_path


@pytest.fixture
def server(folder: Path) -> Iterator[KnowledgeSDKStandIn]:
    with KnowledgeSDKStandIn(folder) as running:
        yield running


def ask(server: KnowledgeSDKStandIn, **body: object) -> httpx.Response:
    headers = {"x-api-key": server.api_key}
    return httpx.post(f"{server.base_url}/v1/search", json=body, headers=headers, trust_env=False, verify=False)


def assert_documented_error(reply: httpx.Response, status: int, message: str) -> None:
    assert reply.status_code == status
    assert sorted(reply.json()) == ["error", "message", "statusCode"]
    assert (reply.json()["statusCode"], reply.json()["error"]) == (status, reply.reason_phrase)
    assert message in reply.json()["message"]
    assert reply.headers["x-request-id"]
    assert reply.headers["content-type"] == "application/json"


# --- answers


def test_without_a_folder_it_searches_the_sample_knowledge_base() -> None:
    with KnowledgeSDKStandIn() as server:
        best = ask(server, query="legal hold").json()["hits"][0]
    assert best["title"] == "Legal hold"


def test_search_answers_in_the_documented_shape_best_first(server: KnowledgeSDKStandIn) -> None:
    reply = ask(server, query="When is the due date?", limit=5)
    assert reply.status_code == 200
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["x-request-id"] == "req_1"
    body = reply.json()
    assert list(body) == ["hits", "total", "query"]
    assert (body["total"], body["query"]) == (3, "When is the due date?")
    best = body["hits"][0]
    assert best == {
        "id": best["id"],
        "title": "Invoices > Due dates",
        "content": "Pay the invoice within 30 days.",
        "category": "billing",
        "source": "billing/invoices.md#due-dates",
        "score": best["score"],
    }
    assert best["score"] > body["hits"][1]["score"] > 0


def test_results_shape_is_the_cli_one(server: KnowledgeSDKStandIn) -> None:
    server.shape = "results"
    body = ask(server, query="rotate").json()
    (result,) = body["results"]
    assert list(body) == ["results", "total", "query"]
    assert result == {
        "id": result["id"],
        "url": "keys.md#keys",
        "title": "Keys",
        "snippet": "Rotate the key every quarter.",
        "score": result["score"],
        "metadata": {"category": "general"},
    }


def test_items_and_list_shapes_are_what_the_mcp_server_reads(server: KnowledgeSDKStandIn) -> None:
    server.shape = "items"
    (item,) = ask(server, query="rotate").json()["items"]
    assert sorted(item) == ["content", "score", "title", "url"]
    server.shape = "list"
    assert ask(server, query="rotate").json() == [item]


def test_stored_shape_has_the_stored_item_field_names(server: KnowledgeSDKStandIn) -> None:
    server.shape = "stored"
    (hit,) = ask(server, query="rotate").json()["hits"]
    assert sorted(hit) == ["category", "content", "embedding", "extractedAt", "id", "sourceUrl", "title"]
    assert (hit["sourceUrl"], len(hit["embedding"])) == ("keys.md#keys", 1536)


def test_a_long_snippet_is_cut_at_a_word(tmp_path: Path) -> None:
    (tmp_path / "long.txt").write_text("word " * 200)
    with KnowledgeSDKStandIn(tmp_path, shape="results") as server:
        snippet = ask(server, query="word").json()["results"][0]["snippet"]
    assert len(snippet) <= 200
    assert snippet.endswith("word ...")


def test_limit_is_10_unless_given(tmp_path: Path) -> None:
    (tmp_path / "many.md").write_text("".join(f"# {n}\n\nneedle\n" for n in range(30)))
    with KnowledgeSDKStandIn(tmp_path) as server:
        assert len(ask(server, query="needle").json()["hits"]) == 10
        assert len(ask(server, query="needle", limit=3).json()["hits"]) == 3


def test_no_match_is_an_empty_list(server: KnowledgeSDKStandIn) -> None:
    assert ask(server, query="?!").json() == {"hits": [], "total": 0, "query": "?!"}


def test_fields_it_does_not_know_are_ignored(server: KnowledgeSDKStandIn) -> None:
    assert ask(server, query="rotate", apiKeyId="key_1", mode="x").status_code == 200


def test_any_text_can_be_asked_and_comes_back(server: KnowledgeSDKStandIn) -> None:
    query = 'key" OR \x00 🙂 日本語'
    body = ask(server, query=query).json()
    assert (body["query"], body["total"]) == (query, 1)
    raw = b'{"query": "key \\ud800"}'
    headers = {"x-api-key": server.api_key, "content-type": "application/json"}
    assert (
        httpx.post(f"{server.url}/v1/search", content=raw, headers=headers, trust_env=False, verify=False).status_code
        == 200
    )


# --- errors


@pytest.mark.parametrize("headers", [{}, {"x-api-key": ""}, {"x-api-key": "wrong"}, {"authorization": "Bearer x"}])
def test_a_missing_or_wrong_key_is_a_401(server: KnowledgeSDKStandIn, headers: dict[str, str]) -> None:
    reply = httpx.post(f"{server.url}/v1/search", json={"query": "key"}, headers=headers, trust_env=False, verify=False)
    assert_documented_error(reply, 401, "Invalid API key")


def test_the_key_can_be_chosen(folder: Path) -> None:
    with KnowledgeSDKStandIn(folder, api_key="sk_ks_mine") as server:
        assert ask(server, query="key").status_code == 200
        assert server.requests[0].headers["x-api-key"] == "sk_ks_mine"


@pytest.mark.parametrize("query", [None, "", "  \n", 3, ["a"]])
def test_a_query_that_is_no_text_is_a_400(server: KnowledgeSDKStandIn, query: object) -> None:
    assert_documented_error(ask(server, query=query), 400, '"query" must be')


def test_a_missing_query_is_a_400(server: KnowledgeSDKStandIn) -> None:
    assert_documented_error(ask(server, limit=3), 400, '"query" must be')


@pytest.mark.parametrize("limit", [0, -1, True, 2.5, "5", None])
def test_a_limit_that_is_no_positive_integer_is_a_400(server: KnowledgeSDKStandIn, limit: object) -> None:
    assert_documented_error(ask(server, query="key", limit=limit), 400, '"limit" must be')


@pytest.mark.parametrize(
    ("content", "content_type", "status", "message"),
    [
        (b"{", "application/json", 400, "not JSON"),
        (b"", "application/json", 400, "not JSON"),
        (b"\xff", "application/json", 400, "not JSON"),
        (b'["query"]', "application/json; charset=utf-8", 400, "a JSON object"),
        (b"query=key", "application/x-www-form-urlencoded", 415, "application/json"),
    ],
)
def test_a_body_that_is_no_json_object_is_refused(
    server: KnowledgeSDKStandIn, content: bytes, content_type: str, status: int, message: str
) -> None:
    headers = {"x-api-key": server.api_key, "content-type": content_type}
    reply = httpx.post(f"{server.url}/v1/search", content=content, headers=headers, trust_env=False, verify=False)
    assert_documented_error(reply, status, message)


@pytest.mark.parametrize("path", ["/", "/search", "/v1/v1/search", "//v1/search", "/v1/search/", "/v1/extract"])
def test_another_path_is_a_404(server: KnowledgeSDKStandIn, path: str) -> None:
    reply = httpx.post(server.url + path, json={"query": "key"}, trust_env=False, verify=False)
    assert_documented_error(reply, 404, "/v1/search")


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_another_method_is_a_405(server: KnowledgeSDKStandIn, method: str) -> None:
    reply = httpx.request(method, f"{server.url}/v1/search?q=key", trust_env=False, verify=False)
    assert_documented_error(reply, 405, "use POST")
    assert reply.headers["allow"] == "POST"


def test_faults_hit_the_stand_in_as_any_server(server: KnowledgeSDKStandIn) -> None:
    faults = [Fault(status=429, headers={"Retry-After": "1"}), Fault(body=[]), None]
    with server.failing(faults):
        assert_documented_error(ask(server, query="key"), 429, "set to fail")
        assert ask(server, query="key").json() == []
        assert ask(server, query="key").json()["total"] == 1


# --- folders and options


def test_the_folder_is_read_at_the_start(folder: Path) -> None:
    server = KnowledgeSDKStandIn(str(folder))
    for total in (0, 1):
        with server:
            assert ask(server, query="needle").json()["total"] == total
        (folder / "new.md").write_text("needle")


def test_an_unknown_shape_is_an_error_that_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="use one of hits, results, items, list, stored"):
        KnowledgeSDKStandIn(tmp_path, shape="rows")  # type: ignore[arg-type]
