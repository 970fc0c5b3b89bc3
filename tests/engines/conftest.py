"""Fixtures for every engine test: start with no model loaded, and fail if anything is printed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from tiny_models import WORDS

from ksdk_rerank.engines import pool
from ksdk_rerank.engines.engine import ModelSettings
from ksdk_rerank.engines.first_tokens import FirstTokens


@pytest.fixture
def documents() -> list[str]:
    """Forty texts of 1 to about 80 tokens, some beyond the tiny models' windows, two equal, one without a token."""
    sizes = np.random.default_rng(5).integers(1, 60, 37)
    texts = [" ".join(WORDS[(i * 7 + j * 3) % len(WORDS)] for j in range(size)) for i, size in enumerate(sizes)]
    return [*texts, "then revoke the key", "then revoke the key", "\x01"]


@pytest.fixture(autouse=True)
def nothing_loaded() -> Iterator[None]:
    """Start every test without the models of the one before."""
    pool._runners.clear()
    yield
    pool._runners.clear()


@pytest.fixture(autouse=True)
def quiet(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """No test may print, and so nothing under test."""
    yield
    out, err = capfd.readouterr()
    assert out + err == ""


@pytest.fixture
def tokenized(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many characters the tokenizer was given at each call."""
    sizes: list[int] = []

    def counting(encode: Callable[..., object]) -> Callable[..., object]:
        def counted(self: FirstTokens, texts: list[str]) -> object:
            sizes.append(sum(map(len, texts)))
            return encode(self, texts)

        return counted

    for name in ("_encoded", "_with_words"):
        monkeypatch.setattr(FirstTokens, name, counting(getattr(FirstTokens, name)))
    return sizes


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., ModelSettings]]:
    """Settings for a model of the hub at an address, with an empty cache and no pause between attempts."""
    huggingface_hub = pytest.importorskip("huggingface_hub")
    constants = huggingface_hub.constants
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)

    def forget_connections() -> None:
        if hasattr(huggingface_hub, "close_session"):
            huggingface_hub.close_session()

    def at(endpoint: str, model: str = "tiny/reranker", **settings: object) -> ModelSettings:
        template = f"{endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr("huggingface_hub.file_download.HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
        monkeypatch.setattr(constants, "ENDPOINT", endpoint)
        forget_connections()
        return ModelSettings(model, cache_folder=str(tmp_path / "cache"), **settings)  # type: ignore[arg-type]

    yield at
    forget_connections()  # a test may have set a proxy
