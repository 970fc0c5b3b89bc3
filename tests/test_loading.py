"""`load_reranker`: names become rerankers, and wrong names say which there are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ksdk_rerank import CrossEncoderReranker, InputOrder, LexicalReranker, load_reranker


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


@pytest.mark.parametrize("name", ["lexicle", "", "bm25"])
def test_an_unknown_name_lists_the_known_ones(name: str) -> None:
    with pytest.raises(ValueError, match="use one of: lexical, input-order, "):
        load_reranker(name)


@pytest.mark.parametrize("name", [None, 3, LexicalReranker])
def test_anything_but_a_name_or_a_reranker_is_a_type_error(name: Any) -> None:
    with pytest.raises(TypeError, match="a reranker is a Reranker or a name"):
        load_reranker(name)
