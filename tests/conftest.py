"""Every test starts without keys in its environment and cannot connect to any other machine."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator

import pytest
from hypothesis import settings
from pytest_socket import socket_allow_hosts

from ksdk_rerank.testing import KnowledgeSDKStandIn

pytest_plugins = ["ksdk_rerank.testing.pytest_plugin", "browser", "tiny_models", "tiny_modular", "tiny_prompts"]

_SCRUBBED = (
    *("KNOWLEDGE", "COHERE", "CO_API", "JINA", "VOYAGE", "NVIDIA"),
    *("HF_TOKEN", "LANGSMITH", "LANGCHAIN", "OPENAI"),
)
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")

settings.register_profile("busy", deadline=None)  # other processes run tests at the same time
settings.load_profile("busy")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the developer's keys, endpoints and proxies, and any GPU, since a GPU computes in 16 bits."""
    for name in list(os.environ):
        if name.startswith(_SCRUBBED) or name in _PROXIES:
            monkeypatch.delenv(name)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


@pytest.fixture(autouse=True)
def only_this_machine() -> None:
    """Refuse connections to anywhere but this machine."""
    socket_allow_hosts(["127.0.0.1", "::1"], allow_unix_socket=True)


@pytest.fixture(params=["sync", "async"])
def call(request: pytest.FixtureRequest) -> Iterator[Callable[..., object]]:
    """Call a method or its asynchronous twin by the synchronous name: `call(client.search, "q")`."""
    if request.param == "sync":
        yield lambda method, *args, **kwargs: method(*args, **kwargs)
        return

    def asynchronously(method: Callable[..., object], *args: object, **kwargs: object) -> object:
        twin: Callable[..., Awaitable[object]] = getattr(method.__self__, f"a{method.__name__}")  # type: ignore[attr-defined]

        async def main() -> object:
            return await twin(*args, **kwargs)

        return asyncio.run(main())

    yield asynchronously


@pytest.fixture
def live(
    knowledgesdk_stand_in: Callable[..., KnowledgeSDKStandIn], monkeypatch: pytest.MonkeyPatch
) -> KnowledgeSDKStandIn:
    """A stand-in over the sample knowledge base that the commands take for KnowledgeSDK."""
    stand_in = knowledgesdk_stand_in()
    monkeypatch.setenv("KNOWLEDGESDK_API_KEY", stand_in.api_key)
    monkeypatch.setenv("KNOWLEDGESDK_BASE_URL", stand_in.base_url)
    return stand_in
