"""Fixtures for every engine test: start with no model loaded, and fail if anything is printed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from tiny_models import WORDS

from ksdk_rerank.engines import pool


@pytest.fixture
def documents() -> list[str]:
    """Forty texts of 1 to about 80 tokens, some beyond the tiny models' windows, two equal, one without a token."""
    sizes = np.random.default_rng(5).integers(1, 60, 37)
    texts = [" ".join(WORDS[(i * 7 + j * 3) % len(WORDS)] for j in range(size)) for i, size in enumerate(sizes)]
    return [*texts, "then revoke the key", "then revoke the key", "\x01"]


@pytest.fixture(autouse=True)
def nothing_loaded() -> Iterator[None]:
    """Start every test without the models of the one before."""
    pool._models.clear()
    yield
    pool._models.clear()


@pytest.fixture(autouse=True)
def quiet(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """No test may print, and so nothing under test."""
    yield
    out, err = capfd.readouterr()
    assert out + err == ""
