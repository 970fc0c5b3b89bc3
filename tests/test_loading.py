"""`load_reranker`: names become rerankers, and wrong names say which there are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ksdk_rerank import (
    CrossEncoderReranker,
    InfinityReranker,
    InputOrder,
    JinaReranker,
    LexicalReranker,
    TEIReranker,
    VLLMReranker,
    load_reranker,
)
from ksdk_rerank.rerankers._self_hosted import SelfHostedReranker


def test_short_names_stand_for_their_classes() -> None:
    assert isinstance(load_reranker("lexical"), LexicalReranker)
    assert isinstance(load_reranker("input-order"), InputOrder)


def test_a_reranker_is_handed_back_as_it_is() -> None:
    reranker = LexicalReranker()
    assert load_reranker(reranker) is reranker


@pytest.mark.parametrize("name", ["cross-encoder/ms-marco-MiniLM-L-6-v2", "BAAI/bge-reranker-large"])
def test_a_hub_id_is_a_local_cross_encoder_that_is_not_loaded_yet(name: str) -> None:
    reranker = load_reranker(name)
    assert isinstance(reranker, CrossEncoderReranker)
    assert reranker.name == name


def test_a_folder_is_a_local_cross_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model").mkdir()
    monkeypatch.chdir(tmp_path)
    assert isinstance(load_reranker("model"), CrossEncoderReranker)


def test_a_hosted_reranker_goes_by_its_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JINA_API_KEY", "from-the-environment")
    reranker = load_reranker("jina:jina-reranker-m0")
    assert isinstance(reranker, JinaReranker)
    assert reranker.model == "jina-reranker-m0"


@pytest.mark.parametrize("kind", ["cohere", "jina"])
def test_a_hosted_reranker_without_a_model_is_refused(kind: str) -> None:
    with pytest.raises(ValueError, match=f"write {kind}:MODEL"):
        load_reranker(f"{kind}:")


@pytest.mark.parametrize(
    ("kind", "expected"), [("tei", TEIReranker), ("vllm", VLLMReranker), ("infinity", InfinityReranker)]
)
@pytest.mark.parametrize(
    ("model", "named"), [("", None), ("#", None), ("#BAAI/bge-reranker-v2-m3", "BAAI/bge-reranker-v2-m3")]
)
def test_a_server_goes_by_its_url_and_the_model_behind_it(
    kind: str, expected: type[SelfHostedReranker], model: str, named: str | None
) -> None:
    reranker = load_reranker(f"{kind}:http://localhost:8000{model}")
    assert isinstance(reranker, expected)
    assert (reranker.url, reranker.model) == ("http://localhost:8000", named)


@pytest.mark.parametrize("name", ["lexicle", "", "bm25", "cohere", "lexical:"])
def test_an_unknown_name_lists_the_known_ones(name: str) -> None:
    with pytest.raises(ValueError, match="use one of: embedded, lexical, input-order, "):
        load_reranker(name)


@pytest.mark.parametrize("name", [None, 3, LexicalReranker])
def test_anything_but_a_name_or_a_reranker_is_a_type_error(name: Any) -> None:
    with pytest.raises(TypeError, match="a reranker is a Reranker or a name"):
        load_reranker(name)
