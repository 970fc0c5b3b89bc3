"""Pytest fixtures; enable them with `pytest_plugins = ["ksdk_rerank.testing.pytest_plugin"]`."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Protocol

import pytest

from ksdk_rerank.testing.stand_in import KnowledgeSDKStandIn, Shape

__all__ = ["StandInFactory", "knowledgesdk_stand_in"]


class StandInFactory(Protocol):
    """The type of the `knowledgesdk_stand_in` fixture."""

    def __call__(
        self, folder: str | os.PathLike[str] | None = None, *, api_key: str = ..., shape: Shape = ...
    ) -> KnowledgeSDKStandIn:
        """Start a stand-in that serves `folder`, or the sample knowledge base."""


@pytest.fixture
def knowledgesdk_stand_in() -> Iterator[StandInFactory]:
    """Starts KnowledgeSDK stand-ins: call `knowledgesdk_stand_in(folder)`. They stop after the test."""
    with ExitStack() as running:

        def start(
            folder: str | os.PathLike[str] | None = None,
            *,
            api_key: str = "knowledgesdk_test_stand_in",
            shape: Shape = "hits",
        ) -> KnowledgeSDKStandIn:
            return running.enter_context(KnowledgeSDKStandIn(folder, api_key=api_key, shape=shape))

        yield start
