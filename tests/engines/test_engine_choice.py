from __future__ import annotations

from importlib.util import find_spec

import pytest

from ksdk_rerank.engines import loading
from ksdk_rerank.engines.base import Settings
from ksdk_rerank.errors import MissingExtra, UnsupportedModel
from ksdk_rerank.rerankers.cross_encoder import CrossEncoderReranker


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch):
    """Pretend that packages are not installed."""

    def without(*missing: str) -> None:
        monkeypatch.setattr(loading, "find_spec", lambda name: None if name in missing else find_spec(name))

    return without


def test_onnx_is_taken_where_the_model_offers_a_file(tiny_bert: str) -> None:
    assert CrossEncoderReranker(tiny_bert).engine == "onnx"


def test_without_any_engine_the_install_line_is_named(tiny_bert: str, without) -> None:
    without("onnxruntime", "sentence_transformers")
    with pytest.raises(MissingExtra, match=r'pip install "ksdk-rerank\[local\]"') as caught:
        CrossEncoderReranker(tiny_bert).rank("key", ["invoice"])
    assert caught.value.extra == "local"


def test_an_engine_that_was_asked_for_and_is_missing_is_named(tiny_bert: str, without) -> None:
    without("sentence_transformers")
    with pytest.raises(MissingExtra, match=r'pip install "ksdk-rerank\[torch\]"'):
        CrossEncoderReranker(tiny_bert, backend="torch").rank("key", ["invoice"])


def test_a_model_that_only_torch_can_run_says_how_to_get_an_onnx_file(make_model, without) -> None:
    without("sentence_transformers")
    folder = make_model(onnx_file=None)
    with pytest.raises(
        UnsupportedModel, match=rf'offers no ONNX file.*ksdk-rerank export {folder} FOLDER.*"ksdk-rerank\[torch\]"'
    ):
        CrossEncoderReranker(str(folder)).rank("key", ["invoice"])


def test_int8_is_never_replaced_by_another_type(tiny_bert: str) -> None:
    with pytest.raises(UnsupportedModel, match="offers no int8 ONNX file"):
        CrossEncoderReranker(tiny_bert, dtype="int8").rank("key", ["invoice"])


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, ("onnx", "torch")),
        ({"device": "cpu"}, ("onnx", "torch")),
        ({"device": "cuda"}, ("torch", "onnx")),
        ({"device": "mps"}, ("torch", "onnx")),
        ({"dtype": "int8"}, ("onnx",)),
        ({"dtype": "bfloat16"}, ("torch",)),
        ({"trust_remote_code": True}, ("torch",)),
        ({"backend": "torch"}, ("torch",)),
    ],
)
def test_the_engines_follow_from_the_settings(settings: dict[str, object], expected: tuple[str, ...]) -> None:
    assert loading._wanted(Settings("m", **settings)) == expected  # type: ignore[arg-type]
