"""Fixtures: recorders of LlamaIndex events and spans, and a small knowledge base. Imports without LlamaIndex."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ksdk_rerank.testing import KnowledgeSDKStandIn

if TYPE_CHECKING:
    from llama_index.core.instrumentation.span_handlers import SimpleSpanHandler
    from llama_index_instrumentation.base import BaseEvent

_ARTICLES = {
    "colours": "# Colour keys\nA key on the chart says which colour is which key figure. Keys rotate with the chart.",
    "rotation": "# Rotate an API key\nTo rotate an API key, create a second one and revoke the first.",
    "seats": "# Seats\nA seat is free again as soon as its member leaves. Keys have no seat.",
    "webhooks": "# Webhooks\nA webhook is signed with a secret of its own, which is not an API key.",
}


@pytest.fixture(autouse=True)
def words_as_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """LlamaIndex counts tokens with tiktoken, which may want to download; words do as well here."""
    if "llama_index.core" in sys.modules:
        monkeypatch.setattr(sys.modules["llama_index.core"], "global_tokenizer", str.split)


@pytest.fixture(scope="session", autouse=True)
def no_event_loop_of_llamaindexs() -> None:
    """In a thread that never had an event loop, LlamaIndex's `asyncio_run` makes one and leaves it open."""
    asyncio.set_event_loop(None)


@pytest.fixture
def events() -> Iterator[list[BaseEvent]]:
    """What is dispatched during the test, as an observability tool sees it."""
    from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]
    from llama_index.core.instrumentation.event_handlers import BaseEventHandler

    seen: list[BaseEvent] = []

    class Recorder(BaseEventHandler):
        def handle(self, event: BaseEvent, **kwargs: object) -> None:
            seen.append(event)

    root, recorder = get_dispatcher(), Recorder()
    root.add_event_handler(recorder)
    yield seen
    root.event_handlers = [handler for handler in root.event_handlers if handler is not recorder]


@pytest.fixture
def spans() -> Iterator[SimpleSpanHandler]:
    """LlamaIndex's own span handler, listening during the test."""
    from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]
    from llama_index.core.instrumentation.span_handlers import SimpleSpanHandler

    root, handler = get_dispatcher(), SimpleSpanHandler()
    root.add_span_handler(handler)
    yield handler
    root.span_handlers = [other for other in root.span_handlers if other is not handler]


@pytest.fixture
def stand_in(tmp_path: Path, knowledgesdk_stand_in: Callable[[Path], KnowledgeSDKStandIn]) -> KnowledgeSDKStandIn:
    """KnowledgeSDK's search over four short articles."""
    for name, text in _ARTICLES.items():
        (tmp_path / f"{name}.md").write_text(text)
    return knowledgesdk_stand_in(tmp_path)
