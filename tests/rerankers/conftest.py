"""Fixtures: one local server per provider, speaking its wire format; replies/*.json cite the documentation."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from ksdk_rerank import CohereReranker, InfinityReranker, JinaReranker, TEIReranker, VLLMReranker
from ksdk_rerank.base import Reranker
from ksdk_rerank.testing import LocalServer, Reply, Request

_LEAVES = {
    "cohere": CohereReranker,
    "infinity": InfinityReranker,
    "jina": JinaReranker,
    "tei": TEIReranker,
    "vllm": VLLMReranker,
}
_KEYED = ("cohere", "jina")


@dataclass(frozen=True)
class Provider:
    """One service: its leaf, its documented wire format, and a server that speaks it."""

    name: str
    server: LocalServer
    wire: dict[str, Any]

    def reranker(self, url: str | None = None, **options: Any) -> Any:
        """Its leaf, with a key where one is wanted."""
        address = url or self.server.url
        if self.name in _KEYED:
            return cast(Any, _LEAVES[self.name])(**{"api_key": "test-key", "base_url": address, **options})
        return cast(Any, _LEAVES[self.name])(address, **options)

    def body(self, results: Sequence[tuple[object, object]]) -> Any:
        """The documented reply, with other results: pairs of an index and a score."""
        return reply_with(self.wire, results)


def reply_with(wire: dict[str, Any], results: Sequence[tuple[object, object]]) -> Any:
    documented = wire["reply"]
    like = (documented["results"] if isinstance(documented, dict) else documented)[0]
    score = "score" if "score" in like else "relevance_score"
    made = [{**like, "index": index, score: value} for index, value in results]
    return {**documented, "results": made} if isinstance(documented, dict) else made


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
        texts = body["texts"] if "texts" in body else body["documents"]
        scores = [score_of(text) for text in texts]
        best_first = sorted(enumerate(scores), key=lambda result: -result[1])
        return Reply.json(reply_with(self.wire, best_first))


def wire_of(name: str) -> dict[str, Any]:
    return cast(dict[str, Any], json.loads((Path(__file__).parent / "replies" / f"{name}.json").read_text()))


@pytest.fixture(scope="session")
def _servers() -> Iterator[dict[str, Answering]]:
    servers = {name: Answering(wire_of(name)).start() for name in _LEAVES}
    yield servers
    for server in servers.values():
        server.stop()


@pytest.fixture
def provider_named(_servers: dict[str, Answering]) -> Callable[[str], Provider]:
    """A provider by name, its server with nothing received yet."""

    def named(name: str) -> Provider:
        server = _servers[name]
        server.requests.clear()
        return Provider(name, server, server.wire)

    return named


@pytest.fixture(params=sorted(_LEAVES))
def provider(request: pytest.FixtureRequest, provider_named: Callable[[str], Provider]) -> Provider:
    """Every provider in turn."""
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
