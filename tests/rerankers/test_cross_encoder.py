"""What holds without a model; tests/engines has the rest."""

from __future__ import annotations

import copy
import math
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ksdk_rerank._fingerprint import identity
from ksdk_rerank.rerankers.cross_encoder import CrossEncoderReranker
from ksdk_rerank.scores import ScoreKind

SECRET = "hf_do_not_show_me"


def test_the_name_is_the_model() -> None:
    assert CrossEncoderReranker().name == "cross-encoder/ms-marco-MiniLM-L-6-v2"
    assert CrossEncoderReranker("BAAI/bge-reranker-large").name == "BAAI/bge-reranker-large"
    assert CrossEncoderReranker.score_kind is ScoreKind.LOGIT


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"model": " "}, ValueError, "model is blank"),
        ({"backend": "tensorflow"}, ValueError, "backend must be"),
        ({"dtype": "int4"}, ValueError, "dtype must be one of auto, float32"),
        ({"max_length": 0}, ValueError, "at least 1 token"),
        ({"max_length": True}, TypeError, "integer of at least 1 token"),
        ({"max_length": 512.0}, TypeError, "integer of at least 1 token"),
        ({"backend": "onnx", "trust_remote_code": True}, ValueError, 'needs backend="torch"'),
        ({"backend": "onnx", "dtype": "float16"}, ValueError, 'needs backend="torch"'),
        ({"backend": "torch", "dtype": "int8"}, ValueError, 'needs backend="onnx"'),
        ({"onnx_file": 7}, TypeError, "onnx_file must be a path"),
        ({"onnx_file": "/etc/model.onnx"}, ValueError, "onnx_file must be the path of an .onnx file in the model's"),
        ({"onnx_file": "../other/model.onnx"}, ValueError, "onnx_file must be the path"),
        ({"onnx_file": "onnx\\..\\..\\model.onnx"}, ValueError, "onnx_file must be the path"),
        ({"onnx_file": "C:model.onnx"}, ValueError, "onnx_file must be the path"),
        ({"onnx_file": "config.json"}, ValueError, "onnx_file must be the path"),
        ({"onnx_file": ""}, ValueError, "onnx_file must be the path"),
        (
            {"onnx_file": "model.onnx", "backend": "torch"},
            ValueError,
            "the other arguments require torch; remove onnx_file",
        ),
        ({"onnx_file": "model.onnx", "dtype": "float16"}, ValueError, "the other arguments require torch"),
        ({"onnx_file": "model.onnx", "trust_remote_code": True}, ValueError, "the other arguments require torch"),
        *(({"timeout": wrong}, ValueError, "timeout must be a positive, finite number") for wrong in (0, -1, math.inf)),
        ({"instruction": " "}, ValueError, "instruction is blank; pass a text, or None"),
        ({"instruction": ["Prefer news"]}, TypeError, "instruction must be a string or None"),
        ({"label": ""}, ValueError, "label is blank"),
        ({"label": -1}, ValueError, "label must be at least 0"),
        ({"label": True}, TypeError, "label must be an integer of at least 0 or None"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_at_once(
    arguments: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        CrossEncoderReranker(**arguments)  # type: ignore[arg-type]


def test_the_file_chosen_is_an_attribute_and_part_of_the_configuration() -> None:
    reranker = CrossEncoderReranker("a/b", onnx_file="onnx/model_O3.onnx")
    assert reranker.onnx_file == "onnx/model_O3.onnx"
    assert reranker.parameters()["onnx_file"] == "onnx/model_O3.onnx"
    assert pickle.loads(pickle.dumps(reranker))._settings == reranker._settings


def test_an_instruction_identifies_the_reranker_but_not_its_weights() -> None:
    plain, news = CrossEncoderReranker("a/b"), CrossEncoderReranker("a/b", instruction="Prefer news")
    assert plain._settings == news._settings
    assert identity(plain, "") != identity(news, "")
    assert news.parameters()["instruction"] == "Prefer news"
    assert "instruction='Prefer news'" in repr(news)
    assert pickle.loads(pickle.dumps(news)).instruction == "Prefer news"


def test_a_label_decides_the_scores_so_it_is_a_setting_of_the_model() -> None:
    first, second = CrossEncoderReranker("a/b", label=1), CrossEncoderReranker("a/b", label="entailment")
    assert first._settings != second._settings
    assert identity(first, "") != identity(second, "")
    assert second.parameters()["label"] == "entailment"


def test_a_folder_may_be_a_path() -> None:
    assert CrossEncoderReranker(Path("models") / "mine").name == os.path.join("models", "mine")


def test_the_token_is_neither_shown_nor_pickled() -> None:
    reranker = CrossEncoderReranker("tiny/gated", token=SECRET)
    assert SECRET not in repr(reranker)
    assert SECRET not in repr(reranker._settings)
    assert SECRET.encode() not in pickle.dumps(reranker)


@pytest.mark.parametrize("carry", [copy.copy, copy.deepcopy])
def test_copies_in_this_process_keep_every_argument(carry: Callable[[Any], Any]) -> None:
    reranker = CrossEncoderReranker("tiny/gated", token=SECRET, max_length=64, revision="v1")
    assert carry(reranker)._settings == reranker._settings


def test_a_pickle_keeps_every_argument_but_the_token() -> None:
    reranker = CrossEncoderReranker("a/b", backend="torch", device="cuda:1", max_length=64, cache_folder="/models")
    assert pickle.loads(pickle.dumps(reranker))._settings == reranker._settings


def test_no_documents_load_no_model() -> None:
    assert len(CrossEncoderReranker("no/such-model").rank("key", [])) == 0
    assert len(CrossEncoderReranker("no/such-model").rank("key", ["", " "])) == 2


def test_closing_what_was_never_used_does_nothing() -> None:
    CrossEncoderReranker("no/such-model").close()


def test_importing_and_constructing_loads_nothing_heavy() -> None:
    program = """if True:
        import sys
        from ksdk_rerank.rerankers.cross_encoder import CrossEncoderReranker
        CrossEncoderReranker()
        heavy = {"numpy", "torch", "onnxruntime", "tokenizers", "huggingface_hub", "transformers"}
        sys.exit(", ".join(heavy & set(sys.modules)) or 0)
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, timeout=60, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
