"""Fixtures: one local server per service, speaking its wire format.

Each file in `replies` has a service's documented request and reply, their source, and the reranker for it. Whatever
concerns every service reads these files, so a new one only needs its own.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

import ksdk_rerank
from ksdk_rerank.base import Reranker
from ksdk_rerank.testing import LocalServer, Reply, Request

WIRES: dict[str, dict[str, Any]] = {
    file.stem: json.loads(file.read_text(encoding="utf-8"))
    for file in sorted((Path(__file__).parent / "replies").glob("*.json"))
}
_PROVIDERS = ("cohere", "infinity", "jina", "tei", "vllm")  # those with test files of their own, which stand for all
_OTHERS = {WIRES[name]["reranker"]["class"]: name for name in WIRES if name not in _PROVIDERS}.values()


@dataclass(frozen=True)
class Provider:
    """One service: its leaf, its documented wire format, and a server that speaks it."""

    name: str
    server: LocalServer
    wire: dict[str, Any]

    @property
    def kind(self) -> Any:
        """The class of its leaf."""
        return getattr(ksdk_rerank, self.wire["reranker"]["class"])

    def reranker(self, url: str | None = None, **options: Any) -> Any:
        """Its leaf, with a key if the service requires one."""
        address = url or self.server.url
        given = {**self.wire["reranker"].get("parameters", {}), **options}
        if "base_url" in inspect.signature(self.kind).parameters:
            return self.kind(**{"api_key": "test-key", "base_url": address, **given})
        return self.kind(address, **given)

    def body(self, results: Sequence[tuple[object, object]]) -> Any:
        """The documented reply, with other results: pairs of an index and a score."""
        return reply_with(self.wire, results)


def reply_with(wire: dict[str, Any], results: Sequence[tuple[object, object]]) -> Any:
    documented = wire["reply"]
    field = next((name for name in ("results", "data", "rankings") if name in documented), None)
    like = (documented if field is None else documented[field])[0]
    score = next(name for name in ("score", "logit", "relevance_score") if name in like)
    made = [{**like, "index": index, score: value} for index, value in results]
    return made if field is None else {**documented, field: made}


def score_of(text: str) -> float:
    try:
        return float(text.split()[0])
    except ValueError:
        return zlib.crc32(text.encode()) / 2**32


class Answering(LocalServer):
    """Gives each document the number it begins with as its score, else one of its own, and sorts as services do."""

    def __init__(self, wire: dict[str, Any]) -> None:
        super().__init__()
        self.wire = wire

    def answer(self, request: Request) -> Reply:
        body = cast(dict[str, Any], request.json())
        documents = next(value for value in body.values() if isinstance(value, list))
        scores = [score_of(each["text"] if isinstance(each, dict) else each) for each in documents]
        best_first = sorted(enumerate(scores), key=lambda result: -result[1])
        return Reply.json(reply_with(self.wire, best_first))


@pytest.fixture(scope="session")
def _servers() -> Iterator[dict[str, Answering]]:
    servers: dict[str, Answering] = {}
    yield servers
    for server in servers.values():
        server.stop()


@pytest.fixture
def provider_named(_servers: dict[str, Answering]) -> Callable[[str], Provider]:
    """A provider by name, its server with nothing received yet."""

    def named(name: str) -> Provider:
        if name not in _servers:
            _servers[name] = Answering(WIRES[name]).start()
        server = _servers[name]
        server.requests.clear()
        return Provider(name, server, server.wire)

    return named


@pytest.fixture
def unshared() -> Iterator[Callable[[str], Provider]]:
    """A provider by name with a server of its own, for calls whose requests may arrive when the test is over."""
    with contextlib.ExitStack() as stack:
        yield lambda name: Provider(name, stack.enter_context(Answering(WIRES[name])), WIRES[name])


@pytest.fixture(params=_PROVIDERS)
def provider(request: pytest.FixtureRequest, provider_named: Callable[[str], Provider]) -> Provider:
    """Those services in turn that stand for all."""
    return provider_named(request.param)


@pytest.fixture(params=WIRES)
def service(request: pytest.FixtureRequest, provider_named: Callable[[str], Provider]) -> Provider:
    """Every service in turn."""
    return provider_named(request.param)


@pytest.fixture(params=_OTHERS)
def other(request: pytest.FixtureRequest, provider_named: Callable[[str], Provider]) -> Provider:
    """One service in turn for each class without a test file of its own."""
    return provider_named(request.param)


@pytest.fixture(params=["cohere", "jina"])
def route(request: pytest.FixtureRequest, provider_named: Callable[[str], Provider]) -> Provider:
    """The two ways to a service: through Cohere's SDK, and directly, as all others. The base class does the rest."""
    return provider_named(request.param)


@pytest.fixture
def reranker(provider: Provider) -> Iterator[Reranker]:
    """The provider's leaf, closed after the test."""
    with provider.reranker(timeout=5.0) as leaf:
        yield leaf
