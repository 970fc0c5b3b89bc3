"""One check for every URL that a user gives, whatever takes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ksdk_rerank import (
    CohereReranker,
    InfinityReranker,
    JinaReranker,
    KnowledgeSDKClient,
    TEIReranker,
    VLLMReranker,
    from_config,
    load_reranker,
)
from ksdk_rerank._transport.urls import checked_url, endpoint_url

KEY = "test-key"


def _cohere(url: Any) -> object:
    pytest.importorskip("cohere")
    return CohereReranker(api_key=KEY, base_url=url)


TAKERS: dict[str, Callable[[Any], object]] = {
    "cohere": _cohere,
    "infinity": InfinityReranker,
    "jina": lambda url: JinaReranker(api_key=KEY, base_url=url),
    "knowledgesdk": lambda url: KnowledgeSDKClient(KEY, base_url=url),
    "tei": TEIReranker,
    "vllm": VLLMReranker,
    "by configuration": lambda url: from_config({"class": "TEIReranker", "parameters": {"url": url}}),
    "by name": lambda url: load_reranker(f"tei:{url}"),
}


# (what is given, what the message advises)
MALFORMED = {
    "nothing": ("", "leave it out"),
    "white space": ("  ", "leave it out"),
    "no scheme": ("localhost:8080", "begin it with http:// or https://"),
    "no scheme, no port": ("rerank.example.com/v1", "begin it with http:// or https://"),
    "one slash": ("http:/host", "begin it with http:// or https://"),
    "another scheme": ("ftp://host", "only http and https are supported"),
    "a socket": ("unix:///run/tei.sock", "only http and https are supported"),
    "a path": ("/v1/rerank", "must be like http"),
    "no host": ("http://", "must be like http"),
    "no host but a port": ("http://:8000", "must be like http"),
    "port 0": ("http://host:0", "must be like http"),
    "a port that is too high": ("http://host:65536", "must be like http"),
    "a port that is a word": ("http://host:port", "must be like http"),
    "a space": ("http://my host:8000", "white space"),
    "a line break": ("http://host:8000\n/v1", "white space"),
    "a tab in the host": ("http://ho\tst", "white space"),
    "a null": ("http://host\x00", "control character"),
    "a backslash": ("http:\\\\host", "must be like http"),
    "IPv6 without brackets": ("http://::1:8000", r"in brackets, such as http://\[::1\]:8000"),
    "a bracket that does not close": ("http://[::1", "must be like http"),
    "an address that is none": ("http://300.1.1.1", "must be like http"),
}


@pytest.mark.parametrize(("url", "advice"), MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_url_is_refused_with_advice(url: str, advice: str) -> None:
    with pytest.raises(ValueError, match=rf"^url must be like http://localhost:8000.*{advice}|{advice}"):
        checked_url(url)


SECRETS = {
    "a user and a password": "https://alice:s3cret@host",
    "a user": "https://s3cret@host/v1",
    "a password with a slash": "https://alice:12/s3cret@host",
    "a password without a scheme": "alice:s3cret@host:8080",
    "a password and a wrong port": "http://alice:s3cret@host:99999",
    "a password and no host": "http://alice:s3cret",
    "a password, no host and no scheme": "alice:s3cret",
    "an @ that is escaped": "http://alice:s3cret%40host",
    "an @ of full width": "http://alice:s3cret\uff20host",
    "key": "https://host?key=s3cret",
    "api_key": "https://host/v1?a=1&api_key=s3cret",
    "apiKey": "https://host/v1?apiKey=s3cret",
    "subscription-key": "https://host/v1?subscription-key=s3cret",
    "token": "https://host/v1/rerank?access_token=s3cret",
    "sig": "https://host/?sv=2024&sig=s3cret",
    "code": "https://host/?code=s3cret",
    "password": "https://host/?Password=s3cret",
    "a signature": "https://host/?X-Amz-Signature=s3cret",
    "an id of a key": "https://host/?AWSAccessKeyId=s3cret",
    "a name that is escaped": "https://host/?k%65y=s3cret",
    "behind a semicolon": "https://host/?a=1;key=s3cret",
    "no name": "https://host/?s3cret",
    "a value that is a key": "https://host/?v=sk-s3crets3crets3cret",
    "a value of many characters": "https://host/?v=s3cretAAAAAAAAAAAAAAAAAAAAAAAA",
    "a missing scheme": "host:8000?key=s3cret",
}


@pytest.mark.parametrize("url", SECRETS.values(), ids=SECRETS)
def test_a_secret_in_a_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ValueError, match=r"pass a key as api_key=|must be like http") as raised:
        checked_url(url)
    assert "s3cret" not in str(raised.value)


def test_a_fragment_is_refused_and_not_repeated() -> None:
    with pytest.raises(ValueError, match="no '#'") as raised:
        TEIReranker("https://host/v1#s3cret")
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://host",
        " https://host/v1/ ",
        "HTTPS://Host:8443",
        "http://my_service:8000",
        "http://[::1]:8000/v1",
        "http://127.0.0.1:8000",
        "http://münchen.example",
        "http://host:/v1",
        "http://host/v1?api-version=2024-05-01",
        "http://host?deployment=reranker-of-the-team&tokenizer=bge&author=me&max_tokens=5",
        "http://host?deployment=the_reranker_that_our_team_uses",
        "http://host?project=550e8400-e29b-41d4-a716-446655440000",
    ],
)
def test_what_can_be_asked_is_taken(url: str) -> None:
    assert checked_url(url).hostname


@pytest.mark.parametrize("taker", TAKERS.values(), ids=TAKERS)
def test_whatever_takes_a_url_checks_it_and_names_its_argument(taker: Callable[[Any], object]) -> None:
    taker("http://127.0.0.1:8000/v1?api-version=2024-05-01")
    with pytest.raises(ValueError, match=r"^(base_)?url must be like https?://.*begin it with http:// or https://"):
        taker("localhost:8080")
    with pytest.raises(ValueError, match=r"^(base_)?url must have no user name, password or fragment") as raised:
        taker("https://alice:s3cret@host")
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize("url", [b"http://host", 8000, ["http://host"]])
def test_what_is_no_string_is_a_type_error(url: Any) -> None:
    with pytest.raises(TypeError, match=r"^url must be a string, got (bytes|int|list)"):
        checked_url(url)


WHOLE = [
    "/rerank",
    "/reranking",
    "/ranking",
    "/score",
    "/api/rerank",
    "/api/v1/services/rerank/text-rerank",
    "/v1/rerank",
    "/v1/reranking",
    "/v1/score",
    "/v1/embeddings",
    "/v2/ReRank",
    "/v1beta1/rank",
    "/models/rerank",
    "/v1/projects/mine/rankingConfigs/default_ranking_config:rank",
]


@pytest.mark.parametrize("path", WHOLE)
@pytest.mark.parametrize("query", ["", "?api-version=2024-05-01&a=b"])
def test_a_whole_address_is_asked_as_it_is(path: str, query: str) -> None:
    url = f"http://host{path}{query}"
    assert endpoint_url(checked_url(url), below_host="/v9/x", below_version="/x") == url


# (what is given, what is asked if an endpoint stands below a version, and if it does not)
PATHS = {
    "": ("/v1/rerank", "/v1/rerank"),
    "/": ("/v1/rerank", "/v1/rerank"),
    "/v1": ("/v1/rerank", "/v1/rerank"),
    "/v2/": ("/v2/rerank", "/v1/rerank"),
    "/gateway": ("/gateway/v1/rerank", "/gateway/v1/rerank"),
    "/reranker": ("/reranker/v1/rerank", "/reranker/v1/rerank"),
    "/gateway/v1beta2": ("/gateway/v1beta2/rerank", "/gateway/v1/rerank"),
    "/v1/account/gateway/cohere": ("/v1/account/gateway/cohere/v1/rerank",) * 2,
    "/rerank/": ("/rerank", "/rerank"),
}


@pytest.mark.parametrize(("path", "asked"), PATHS.items(), ids=[path or "host" for path in PATHS])
def test_nothing_is_appended_twice_and_a_query_stays_behind_it(path: str, asked: tuple[str, str]) -> None:
    for query in ("", "?api-version=2024-05-01"):
        parts = checked_url(f"http://host{path}{query}")
        for below_version, expected in zip(("/rerank", None), asked, strict=True):
            url = endpoint_url(parts, below_host="/v1/rerank", below_version=below_version)
            assert url == f"http://host{expected}{query}"
