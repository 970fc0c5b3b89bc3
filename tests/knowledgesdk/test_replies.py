"""What is made of a reply, whatever its shape: hits with text, a truly empty result, or `BadReply`."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ksdk_rerank import KnowledgeSDKClient, SearchHit, SearchResults, errors
from ksdk_rerank.knowledgesdk._parsing import parse_results
from ksdk_rerank.testing import LocalServer, Reply

Call = Callable[..., Any]
HIT = {"id": "ki_1", "content": "Team costs 20."}


def read(data: object) -> SearchResults:
    return parse_results(data, "plans", 20)


def only(item: dict[str, object]) -> SearchHit:
    (hit,) = read({"hits": [item]})
    return hit


# A reply that cannot be read is no empty result


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"results": [{"code": 404, "error": "Not found."}]}, ["has code, error", "it says: Not found."]),
        ({"results": [{"id": "1", "text": "x"}]}, ["1 of 1 items", "content, snippet, description, title", "id, text"]),
        ([{"message": "quota exceeded"}], ["quota exceeded"]),
        ([{"errors": [{"detail": "shard 2 failed"}]}], ["shard 2 failed"]),
        ({"hits": [{"id": "a"}, {"id": "b", "content": " "}]}, ["2 of 2 items"]),
        ({"hits": [{"id": 1, "metadata": {"text": "x"}}]}, ["id, metadata"]),
        ({"hits": [{"\ud800": 1}]}, ["\ufffd"]),
        ({"hits": [{}]}, ["no fields"]),
        ({"hits": ["text"]}, ["item 0 is a string"]),
        ({"hits": [None]}, ["item 0 is null"]),
        ({"hits": [[HIT]]}, ["item 0 is a list"]),
        ({"hits": None}, ["hits is null"]),
        ({"results": None, "message": "no index yet"}, ["results is null", "it says: no index yet"]),
        ({"hits": {"hits": [HIT]}}, ["hits is a dict"]),
        ({"data": [HIT], "took": 3}, ["none of hits, results, items", "it has data, took"]),
        ({"statusCode": 503, "error": "Service Unavailable", "message": "Search is paused"}, ["Search is paused"]),
        ({}, ["no fields"]),
        ("hits", ["a string, not an object"]),
        (None, ["null, not an object"]),
    ],
)
def test_a_reply_that_cannot_be_read_is_refused_in_the_services_words(data: object, said: list[str]) -> None:
    with pytest.raises(ValueError, match=r"has no list|have no text|, not an object") as caught:
        read(data)
    for words in said:
        assert words in str(caught.value)


@pytest.mark.parametrize(
    "beside",
    [
        {"statusCode": 503},
        {"statusCode": "503", "message": "Search is paused"},
        {"status_code": 429},
        {"status": 500},
        {"status": "error"},
        {"status": "FAILED"},
        {"status": "timed_out"},
        {"status": "processing"},
        {"code": 42},
        {"code": "INDEX_NOT_READY"},
        {"error": "embedding generation is off"},
        {"error": {"message": "no such collection"}},
        {"error": True},
        {"errors": [{"message": "shard 2"}]},
        {"errorCode": 7},
        {"isError": True},
        {"detail": "the index is being built"},
        {"success": False},
        {"ok": "false"},
        {"timed_out": True},
        {"timedOut": True},
        {"search_cutoff": True},
        {"partial": True},
        {"_shards": {"total": 5, "failed": 5}},
        {"meta": {"status": "error"}},
        {"status": {"code": 503}},
        {"total": 12},
    ],
)
def test_an_empty_list_beside_a_sign_of_failure_is_refused(beside: dict[str, object]) -> None:
    for name in ("hits", "results", "items"):
        with pytest.raises(ValueError, match=f"it has no hits and reports ({next(iter(beside))}|failed|status|code)"):
            read({name: [], **beside})


@pytest.mark.parametrize(
    "beside",
    [
        {},
        {"total": 0, "query": "plans"},
        {"statusCode": 200},
        {"status": 200, "code": 0},
        {"status": "ok", "code": "OK", "success": True},
        {"status": "no_results"},
        {"status": True},
        {"error": None, "errors": [], "message": "No results found."},
        {"error": False},
        {"error": ""},
        {"timed_out": False, "timeout": 30, "search_cutoff": False, "partial": False},
        {"_shards": {"total": 5, "failed": 0}, "meta": {"took": 3}},
        {"filters": {"status": "draft"}, "facet_counts": []},
        {"results": None, "items": []},
    ],
)
def test_an_empty_list_that_nothing_speaks_against_is_an_empty_result(beside: dict[str, object]) -> None:
    assert read({"hits": [], **beside}) == SearchResults((), "plans", 0)


def test_a_bare_empty_list_is_an_empty_result() -> None:
    assert read([]) == SearchResults((), "plans", 0)


def test_what_can_be_read_is_returned_and_the_rest_is_told(caplog: pytest.LogCaptureFixture) -> None:
    items = [HIT, {"id": "b"}, {"error": "shard 2 failed"}]
    with caplog.at_level(logging.WARNING, "ksdk_rerank"):
        results = read({"hits": items, "timed_out": True})
    assert results.texts == ["Team costs 20."]
    assert "2 of 3 items have no text" in caplog.text
    assert "timed_out: True" in caplog.text


@pytest.mark.parametrize(
    "data",
    [
        {"hits": [], "results": [HIT]},
        {"hits": None, "items": [HIT]},
        {"hits": [{"id": "1"}], "results": [HIT]},
        {"hits": ["ki_1"], "items": [HIT]},
        {"hits": [HIT], "results": [{"content": "other"}]},
    ],
)
def test_of_several_lists_the_first_with_texts_is_read(data: object) -> None:
    assert read(data).texts == ["Team costs 20."]


def test_over_the_wire_it_is_a_bad_reply_of_the_service(call: Call) -> None:
    data = {"hits": [], "statusCode": 503, "message": "Search is paused"}
    with LocalServer(lambda request: Reply.json(data)) as server:
        client = KnowledgeSDKClient("sk_ks_1", base_url=server.url)
        with pytest.raises(errors.BadReply, match=r"no hits and reports statusCode: 503; it says: Search is paused"):
            call(client.search, "plans")


# Text in parts


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([{"type": "text", "text": "one"}, {"type": "text", "text": "two"}], "one\ntwo"),
        (["one", "two"], "one\ntwo"),
        ([["one"], "two", None, ""], "one\ntwo"),
        ({"text": "one"}, "one"),
        ({"type": "text", "text": {"value": "one"}}, "one"),
        ({"parts": [{"text": "one"}, {"text": "two"}]}, "one\ntwo"),
        ([{"type": "text", "content": "one"}], "one"),
        ([{"type": "text", "text": ""}, {"type": "text", "text": "two"}], "two"),
    ],
)
@pytest.mark.parametrize("name", ["content", "snippet", "description"])
def test_a_text_in_parts_is_joined(name: str, content: object, text: str) -> None:
    hit = only({name: content, "title": "Plans"})
    assert (hit.text, hit.title, dict(hit.metadata)) == (text, "Plans", {})


def test_parts_that_are_no_text_stay_in_the_metadata() -> None:
    content = [{"type": "text", "text": "one"}, {"type": "image", "url": "x.png"}]
    hit = only({"content": content, "title": "Plans"})
    assert (hit.text, dict(hit.metadata)) == ("one", {"content": content})


@pytest.mark.parametrize(
    "content",
    [
        {"html": "<p>one</p>"},
        [{"html": "one"}],
        ["one", 2],
        [{"type": "image", "url": "x.png"}],
        {"type": "text"},
        [[[[[[["one"]]]]]]],
    ],
)
def test_a_text_that_cannot_be_told_is_refused_and_not_replaced_by_the_title(content: object) -> None:
    with pytest.raises(ValueError, match="item 1 cannot be read: its content is"):
        read([HIT, {"content": content, "title": "Plans"}])


@pytest.mark.parametrize("content", [None, "", " \n", [], {}, [""], [{"type": "text", "text": ""}]])
def test_a_text_that_is_empty_gives_way_to_the_next(content: object) -> None:
    assert only({"content": content, "snippet": "s", "title": "t"}).text == "s"


# Nothing is lost


def test_the_nested_metadata_keeps_its_names() -> None:
    nested = {"id": "doc-7", "title": "R", "score": 0.3, "page": 4}
    hit = only({"id": "1", "content": "x", "title": None, "metadata": nested})
    assert hit == SearchHit("1", "x", title="R", metadata=nested)


@pytest.mark.parametrize(
    ("item", "metadata"),
    [
        ({"category": "a", "metadata": {"category": "b"}}, {"category": "a", "metadata.category": "b"}),
        ({"category": "a", "metadata": {"category": "a"}}, {"category": "a"}),
        ({"category": None, "metadata": {"category": "b"}}, {"category": "b"}),
        ({"page": 1, "metadata": {"page": True}}, {"page": 1, "metadata.page": True}),
        (
            {"a": 1, "metadata.a": 2, "metadata": {"a": 3}},
            {"a": 1, "metadata.a": 2, "metadata.metadata.a": 3},
        ),
        ({"url": "u", "source": "s", "title": "t", "metadata": {"title": "n"}}, {"url": "u", "title": "n"}),
        ({"content": 7, "snippet": "x", "description": "d"}, {"content": 7, "description": "d"}),
        ({"score": "high", "id": ["x"], "title": 3}, {"score": "high", "id": ["x"], "title": 3}),
        ({"metadata": None}, {}),
        ({"metadata": {}}, {}),
        ({"metadata": "free text"}, {"metadata": "free text"}),
        ({"metadata": {"metadata": {"a": 1}, "": 2}}, {"metadata": {"a": 1}, "": 2}),
        ({"embedding": [1.0], "metadata": {"embedding": [1.0]}}, {}),
    ],
)
def test_what_clashes_gets_a_name_of_its_own(item: dict[str, object], metadata: dict[str, object]) -> None:
    text = {} if "snippet" in item else {"content": "x"}
    hit = only({**text, **item})
    assert dict(hit.metadata) == metadata
    assert hit.text == "x"


def test_an_adapters_names_displace_the_services() -> None:
    hit = SearchHit("1", "x", title="T", metadata={"title": "R", "retrieval_score": 3, "page": 4})
    assert hit.metadata_beside({"title": "T", "source": None, "retrieval_score": 0.5}) == {
        "title": "T",
        "retrieval_score": 0.5,
        "metadata.title": "R",
        "metadata.retrieval_score": 3,
        "page": 4,
    }


@pytest.mark.parametrize(
    ("value", "id"), [("a", "a"), (7, "7"), (7.0, "7"), (7.5, "7.5"), (2**70, str(2**70)), (-1, "-1")]
)
def test_ids_that_are_numbers_become_strings(value: object, id: str) -> None:
    assert only({"id": value, "content": "x"}).id == id


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_json_cannot_write_become_none(number: str) -> None:
    data = json.loads(f'{{"hits": [{{"content": "x", "a": {number}, "metadata": {{"b": [{{"c": {number}}}]}}}}]}}')
    (hit,) = read(data)
    assert hit.metadata == {"a": None, "b": [{"c": None}]}


# Text that can be encoded


def test_halves_of_surrogate_pairs_are_joined_or_replaced_everywhere() -> None:
    item = {
        "id": "i\ud83d",
        "content": "c\ude00",
        "title": "t\ud83d\ude00",
        "source": "s\ud83d",
        "m\ud83d": "v",
        "metadata": {"n": {"k\ud83d": ["v\ud83d"], "k\udc00": 2}},  # noqa: F601 - two halves
    }
    results = read({"hits": [item], "query": "q\ud83d"})
    replaced = "\ufffd"
    nested = {"n": {f"k{replaced}": [f"v{replaced}"], f"metadata.k{replaced}": 2}}
    assert results.query == f"q{replaced}"
    assert results[0] == SearchHit(
        f"i{replaced}",
        f"c{replaced}",
        title="t\N{GRINNING FACE}",
        source=f"s{replaced}",
        metadata={f"m{replaced}": "v", **nested},
    )


def test_a_question_with_half_a_pair_is_sent_as_text_that_can_be_read(call: Call) -> None:
    with LocalServer(lambda request: Reply.json([])) as server:
        client = KnowledgeSDKClient("sk_ks_1", base_url=server.url)
        assert call(client.search, "gr\ud83d\ude00n \ud83d").query == "gr\N{GRINNING FACE}n \ufffd"
        assert server.requests[0].json()["query"] == "gr\N{GRINNING FACE}n \ufffd"  # type: ignore[index]


# Any reply


def deeply(depth: int) -> object:
    value: object = "x"
    for _ in range(depth):
        value = [value]
    return value


NAMES = st.sampled_from(
    ["hits", "results", "items", "content", "snippet", "title", "id", "metadata", "score", "source", "url", "text"]
)
ENVELOPE = st.sampled_from(["error", "status", "statusCode", "code", "total", "query", "type", "timed_out", "meta"])
ANY_TEXT = st.text(st.characters(exclude_categories=[]), max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT | st.sampled_from(["ok", "error", "12", "1e9"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES | ENVELOPE | ANY_TEXT, inner, max_size=5),
    max_leaves=25,
)


@given(
    JSON | st.lists(st.dictionaries(NAMES | ENVELOPE, JSON, max_size=5), max_size=3).map(lambda items: {"hits": items})
)
@example({"hits": [{"content": "x", "metadata": {"a": deeply(400)}}]})
@example({"hits": [{"content": deeply(400)}]})
@example({"hits": [], "error": deeply(400), "status": deeply(400)})
@example({"hits": [{"content": "x", "id": 10**5000}]})
@example({"hits": [], "code": 10**400})
@settings(max_examples=60, deadline=None)
def test_any_reply_is_results_that_can_be_written_as_json_or_a_value_error(data: object) -> None:
    try:
        results = read(data)
    except ValueError:
        return
    for hit in results:
        assert hit.text.strip()
        assert hit.id
        written = json.dumps([hit.id, hit.text, hit.title, hit.source, hit.score, hit.metadata], allow_nan=False)
        json.dumps(json.loads(written), ensure_ascii=False).encode()


@pytest.fixture(params=["items", "fields", "clashes", "parts"])
def large(request: pytest.FixtureRequest) -> object:
    many = 5_000
    return {
        "items": {"hits": [HIT] * many},
        "fields": {"hits": [{"content": "x", **{str(n): n for n in range(many)}}]},
        "clashes": {
            "hits": [
                {"content": "x", **{str(n): n for n in range(many)}, "metadata": {str(n): -n for n in range(many)}}
            ]
        },
        "parts": {"hits": [{"content": [{"type": "text", "text": "x"}] * many}]},
    }[request.param]


def test_a_large_reply_is_read_in_linear_time(large: object) -> None:
    started = time.process_time()
    assert read(large)
    assert time.process_time() - started < 4
