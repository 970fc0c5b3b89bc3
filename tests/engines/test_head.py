from __future__ import annotations

import pytest
from tokenizers import Tokenizer, models

from ksdk_rerank.engines.head import check_head, pad_id, window
from ksdk_rerank.errors import UnsupportedModel

ONE_LOGIT = {"architectures": ["BertForSequenceClassification"], "id2label": {"0": "LABEL_0"}}


@pytest.mark.parametrize(
    "config", [ONE_LOGIT, {"architectures": ["NewForSequenceClassification"], "num_labels": 1}], ids=["names", "number"]
)
def test_a_cross_encoder_with_one_logit_passes(config: dict[str, object]) -> None:
    check_head(config, "m")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({**ONE_LOGIT, "id2label": {"0": "a", "1": "b", "2": "c"}}, "org/m is a classifier with 3 labels"),
        ({"architectures": ["BertForSequenceClassification"]}, "with 2 labels"),
        ({"architectures": ["BertModel"]}, r"org/m .*BertModel.*embedding models \(bi-encoders\)"),
        ({}, "architecture is unknown"),
        ({"architectures": ["Qwen3ForCausalLM"]}, r"language model \(Qwen3ForCausalLM\)"),
    ],
    ids=["three", "none", "embedding", "empty", "llm"],
)
def test_other_models_are_refused_by_name_with_advice(config: dict[str, object], message: str) -> None:
    with pytest.raises(UnsupportedModel, match=f"{message}.*use a cross-encoder with one logit"):
        check_head(config, "org/m")


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
