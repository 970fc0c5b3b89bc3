"""Fixtures: a small knowledge base written for the tests, and a stand-in server that searches it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ksdk_rerank.testing import KnowledgeSDKStandIn

PAGES = {
    "rotate-a-key.md": "# Rotate a key\n\nRotate an API key on the settings page; the old key works for a day.\n",
    "revoke-a-key.md": "# Revoke a key\n\nRevoke an API key at once when it has leaked. It cannot be restored.\n",
    "seats.md": "# Seats\n\nA seat is one member of a project. Members sign in with a key or with a password.\n",
    "colours.md": "# Colours\n\nThe key of a chart explains its colours.\n",
    "invoices.md": "# Invoices\n\nInvoices are sent on the first of the month.\n",
}


@pytest.fixture(scope="session")
def knowledge_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of five pages, four of which mention a key."""
    folder = tmp_path_factory.mktemp("knowledge_base")
    for name, text in PAGES.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def server(knowledge_base: Path) -> Iterator[KnowledgeSDKStandIn]:
    """KnowledgeSDK's search over the knowledge base, on 127.0.0.1."""
    with KnowledgeSDKStandIn(knowledge_base) as running:
        yield running
