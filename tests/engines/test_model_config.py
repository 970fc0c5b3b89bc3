from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_models import MakeModel
from tokenizers import Tokenizer, models

from ksdk_rerank.engines.files import Folder
from ksdk_rerank.engines.model_config import ModelKind, model_kind, pad_id, window
from ksdk_rerank.errors import ModelError, UnsupportedModel
from ksdk_rerank.rerankers.cross_encoder import CrossEncoderReranker

ONE_LOGIT = {"architectures": ["BertForSequenceClassification"], "id2label": {"0": "LABEL_0"}}
MODULES = "sentence_transformers.models."
KindOf = Callable[..., ModelKind]


@pytest.fixture
def kind_of(tmp_path: Path) -> KindOf:
    """The kind of a folder with this `config.json`, these modules, and these other JSON files."""

    def kind_of(config: object, modules: list[Any] | None = None, files: dict[str, object] | None = None) -> ModelKind:
        written = {"config.json": config, **(files or {})}
        if modules:
            entries = [
                {"type": MODULES + name, "path": f"{number}_{name}" if number else ""}
                if isinstance(name, str)
                else name
                for number, name in enumerate(modules)
            ]
            written["modules.json"] = entries
        for name, content in written.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(json.dumps(content))
        return model_kind(Folder(tmp_path), "org/m")

    return kind_of


@pytest.mark.parametrize(
    ("config", "tokenizer_config", "max_length", "expected"),
    [
        ({"max_position_embeddings": 512}, {"model_max_length": 512}, 512, 512),
        ({"max_position_embeddings": 512}, {}, 128, 128),
        ({"max_position_embeddings": 8192}, {"model_max_length": 1e30}, 512, 512),
        ({"max_position_embeddings": 514, "model_type": "xlm-roberta", "pad_token_id": 1}, {}, 1024, 512),
        ({"max_position_embeddings": 514, "model_type": "roberta"}, {}, 1024, 512),
        ({"max_position_embeddings": -1}, {"model_max_length": 256}, 512, 256),
        ({}, {}, 512, 512),
    ],
)
def test_the_window_is_the_smallest_limit(
    config: dict[str, object], tokenizer_config: dict[str, object], max_length: int, expected: int
) -> None:
    assert window(config, tokenizer_config, max_length) == expected


def test_the_padding_is_what_the_files_name_or_an_error() -> None:
    tokenizer = Tokenizer(models.WordLevel({"[PAD]": 5, "[UNK]": 0}, unk_token="[UNK]"))
    assert pad_id({"pad_token_id": 0}, {"pad_token": "[PAD]"}, tokenizer, "m") == 0
    assert pad_id({"pad_token_id": None}, {"pad_token": "[PAD]"}, tokenizer, "m") == 5
    assert pad_id({}, {"pad_token": {"content": "[PAD]"}}, tokenizer, "m") == 5
    with pytest.raises(UnsupportedModel, match=r"m names no padding token.*add pad_token_id"):
        pad_id({}, {}, tokenizer, "m")


@pytest.mark.parametrize(
    "config",
    [
        ONE_LOGIT,
        {"architectures": ["NewForSequenceClassification"], "num_labels": 1},
        {"id2label": {"0": "LABEL_0"}},
        {"num_labels": 1},
        {"label2id": {"LABEL_0": 0}},
        {"architectures": None, "num_labels": 1},
        {"architectures": [], "id2label": {"0": "LABEL_0"}},
        {
            "architectures": ["OwnRanker"],
            "auto_map": {"AutoModelForSequenceClassification": "own.OwnRanker"},
            "num_labels": 1,
        },
    ],
)
def test_a_classifier_with_one_logit_is_known_by_its_architecture_or_other_fields(
    kind_of: KindOf, config: dict[str, object]
) -> None:
    assert kind_of(config) is ModelKind.CLASSIFIER


def test_the_modules_say_that_a_model_is_modular_or_needs_a_prompt(kind_of: KindOf) -> None:
    saved = {"config_sentence_transformers.json": {"model_type": "CrossEncoder"}}
    assert kind_of({}, ["Transformer", "LogitScore"], saved) is ModelKind.PROMPT
    bare, last = {"architectures": ["ModernBertModel"]}, {"module_output_name": "scores", "out_features": 1}
    assert kind_of(bare, ["Transformer", "Dense"], {**saved, "1_Dense/config.json": last}) is ModelKind.MODULAR


@pytest.mark.parametrize("modules", [["Transformer"], ["Transformer", "Pooling"]])
def test_a_classifier_is_one_whatever_modules_stand_beside_it(kind_of: KindOf, modules: list[str]) -> None:
    assert kind_of(ONE_LOGIT, modules) is ModelKind.CLASSIFIER


@pytest.mark.parametrize("module", [7, {}, {"type": 7}])
def test_modules_of_the_wrong_type_are_named(kind_of: KindOf, module: object) -> None:
    with pytest.raises(ModelError, match=r"modules\.json of org/m is damaged: type is .*not a name"):
        kind_of(ONE_LOGIT, [module])


@pytest.mark.parametrize("path", ["/etc", "../other", 7])
def test_a_module_outside_the_models_folder_is_refused(kind_of: KindOf, path: object) -> None:
    with pytest.raises(ModelError, match=r"path is .*not a folder inside the model"):
        kind_of(ONE_LOGIT, [{"type": "Dense", "path": path}])


ENGINES = ["onnx", "openvino", "torch"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
@pytest.mark.parametrize("backend", ENGINES)
@pytest.mark.parametrize(
    "fields",
    [
        {"architectures": None},
        {"architectures": [], "id2label": None, "label2id": None, "num_labels": 1},
        {"architectures": None, "id2label": None},
    ],
    ids=["id2label", "num_labels", "label2id"],
)
def test_a_folder_whose_config_names_no_architecture_scores_like_the_same_with_one(
    make_model: MakeModel, tiny_bert: str, backend: Any, fields: dict[str, object]
) -> None:
    pytest.importorskip({"onnx": "onnxruntime", "torch": "sentence_transformers"}.get(backend, backend))
    folder = make_model(config=fields)
    config = {
        name: value for name, value in json.loads((folder / "config.json").read_text()).items() if value is not None
    }
    (folder / "config.json").write_text(json.dumps(config))
    got, expected = (
        CrossEncoderReranker(model, backend=backend, device="cpu", dtype="float32").score("the key", ["key"]).raw
        for model in (str(folder), tiny_bert)
    )
    assert got == expected


@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
def test_an_encoder_without_a_head_gets_no_random_one(make_model: MakeModel) -> None:
    pytest.importorskip("sentence_transformers")
    folder = make_model(config={"architectures": None})
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes().replace(b'"classifier.', b'"nonesuch__.'))
    with pytest.raises(UnsupportedModel, match="its weights have no classification head"):
        CrossEncoderReranker(str(folder), backend="torch").rank("the key", ["key"])
