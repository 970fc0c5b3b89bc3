"""What a tokenizer puts between two texts: a separator, or what a language model puts around each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny_models import MakeModel, bert_tokenizer
from tokenizers import AddedToken, Tokenizer, processors

from ksdk_rerank.engines.encoding import PairEncoder
from ksdk_rerank.engines.separators import check_separator
from ksdk_rerank.errors import UnsupportedModel
from ksdk_rerank.rerankers.cross_encoder import CrossEncoderReranker

SPECIAL = ["<s>", "</s>", "<sep>", "<cls>", "<bos>", "<eos>", "<|begin_of_text|>", "<|end_of_text|>", "<|endoftext|>"]


def tokenizer_of(pair: str) -> Tokenizer:
    """A tokenizer with a template, in which `A` and `B` are the texts."""
    tokenizer = bert_tokenizer()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    used = [token for token in [*SPECIAL, "[CLS]", "[SEP]"] if token in pair.split()]
    template = " ".join({"A": "$A", "B": "$B:1"}.get(part, part) for part in pair.split())
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A", pair=template, special_tokens=[(token, tokenizer.token_to_id(token)) for token in used]
    )
    return tokenizer


@pytest.mark.parametrize(
    ("pair", "kind"),
    [
        ("[CLS] A [SEP] B [SEP]", "bert"),
        ("[CLS] A [SEP] B [SEP]", "modernbert"),
        ("[CLS] A [SEP] B [SEP]", "deberta-v2"),
        ("[CLS] A [SEP] B [SEP]", "albert"),
        ("[CLS] A [SEP] B [SEP]", "electra"),
        ("<s> A </s> </s> B </s>", "roberta"),
        ("<s> A </s> </s> B </s>", "xlm-roberta"),
        ("<s> A </s> </s> B </s>", "camembert"),
        ("<s> A </s> </s> B </s>", "mpnet"),
        ("<s> A </s> </s> B </s>", "bart"),
        ("<s> A </s> B </s>", "xlm"),
        ("<cls> A <eos> B <eos>", "esm"),
        ("[CLS] A [SEP] [SEP] B [SEP]", "ernie_m"),
        ("A </s> B </s>", "t5"),
        ("A </s> B </s>", "umt5"),
        ("A <sep> B <sep> <cls>", "xlnet"),
        ("<bos> A <eos> <bos> B <eos>", "eurobert"),
        ("<s> A <sep> B </s>", "llama"),
    ],
)
def test_a_pair_with_a_separator_passes(pair: str, kind: str) -> None:
    tokenizer = tokenizer_of(pair)
    check_separator(tokenizer, {"model_type": kind}, {}, "m")
    assert PairEncoder(tokenizer, 64, "m").encode("key", ["invoice"]).pairs


@pytest.mark.parametrize(
    ("pair", "kind", "reason"),
    [
        ("<s> A <s> B", "llama", "starts each text with <s> and puts no separator"),
        ("<s> A <s> B", "mistral", "starts each text with <s>"),
        ("<bos> A <bos> B", "gemma2", "starts each text with <bos>"),
        ("<|begin_of_text|> A <|begin_of_text|> B", "llama_bidirec", r"starts each text with <\|begin_of_text\|>"),
        ("</s> A </s> B", "opt", "starts each text with </s>"),
        ("<bos> A <bos> B", None, "starts each text with <bos>"),
        ("<bos> A <bos> B <eos>", "bert", "starts each text with <bos>"),
        ("<s> A </s> <s> B </s>", "llama", "ends each text with </s> and puts no separator"),
        ("A <|endoftext|> B <|endoftext|>", "qwen3", r"ends each text with <\|endoftext\|>"),
    ],
)
def test_a_language_models_pair_is_refused_with_the_reason(pair: str, kind: str | None, reason: str) -> None:
    config = {} if kind is None else {"model_type": kind}
    with pytest.raises(UnsupportedModel, match=rf"tokenizer of m {reason}.*language models.*BERT-style cross-encoder"):
        check_separator(tokenizer_of(pair), config, {}, "m")


def test_a_pair_without_any_token_between_is_refused() -> None:
    with pytest.raises(UnsupportedModel, match=r"m puts no special token between.*use a BERT-style cross-encoder"):
        check_separator(tokenizer_of("[CLS] A B"), {}, {}, "m")


@pytest.mark.parametrize("token", ["<s>", {"content": "<s>"}])
def test_a_token_that_the_files_call_a_separator_is_one(token: object) -> None:
    check_separator(tokenizer_of("<s> A <s> B"), {"model_type": "bert"}, {"sep_token": token}, "m")


@pytest.mark.parametrize("token", [{"eos_token": "<eos>"}, {"eos_token": {"content": "<eos>"}}])
def test_an_end_token_is_known_by_its_name_if_none_ends_the_pair(token: dict[str, object]) -> None:
    with pytest.raises(UnsupportedModel, match="ends each text with <eos>"):
        check_separator(tokenizer_of("A <eos> B"), {"model_type": "qwen2"}, token, "m")


@pytest.mark.parametrize("backend", ["onnx", "openvino", "torch"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
def test_such_a_model_is_refused_by_every_engine(make_model: MakeModel, backend: Any) -> None:
    pytest.importorskip({"onnx": "onnxruntime", "torch": "sentence_transformers"}.get(backend, backend))
    folder: Path = make_model()
    tokenizer_of("<s> A <s> B").save(str(folder / "tokenizer.json"))
    with pytest.raises(UnsupportedModel, match=r"starts each text with <s> and puts no separator"):
        CrossEncoderReranker(str(folder), backend=backend, device="cpu").rank("key", ["invoice"])
