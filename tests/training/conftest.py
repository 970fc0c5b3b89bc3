"""A small corpus, tokenizer and teacher: real code, random weights."""

from __future__ import annotations

import random
from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from training.corpus import Corpus
    from training.models import Weights
    from training.teachers import Teachers

if not all(map(find_spec, ("torch", "onnx", "safetensors", "tokenizers", "bm25s", "transformers"))):
    collect_ignore_glob = ["test_*.py"]

WORDS = "river mountain lake forest bridge castle village road island harbour keeps feeds crosses borders".split()  # noqa: SIM905
NUMBERS = [str(1900 + year) for year in range(30)]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """On networks this small, threads would spend their time waiting for each other."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    from training.near_misses import STOP, UNRELATED, VERBS

    reserved = ["[PAD]", *(f"[unused{i}]" for i in range(99)), "[UNK]", "[CLS]", "[SEP]"]
    others = " ".join(UNRELATED.replace("{}", "").replace(".", "").split("|")).split()
    names = dict.fromkeys([*reserved, *STOP, *VERBS, "not", *others, *WORDS, *NUMBERS, "##01"])
    found = Tokenizer(models.WordPiece({name: i for i, name in enumerate(names)}, unk_token="[UNK]"))
    found.normalizer = normalizers.BertNormalizer()
    found.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    found.post_processor = processors.BertProcessing(("[SEP]", 102), ("[CLS]", 101))
    return found


@pytest.fixture(scope="session")
def corpus(tokenizer: Tokenizer) -> Corpus:
    from training.corpus import prepare
    from training.texts import Unit

    rng = random.Random(0)

    def sentence() -> str:
        return f"The {' '.join(rng.choices(WORDS, k=9))} was of {rng.choice(NUMBERS)}."

    units = [
        Unit(kind, f"group {place // 2}", f"{kind} {place}", [sentence() for _ in range(4)], [sentence(), sentence()])
        for kind in ("squad", "code")
        for place in range(400)
    ]
    few = [unit for unit in units if unit.held_out] + [unit for unit in units if not unit.held_out][::10]
    return prepare(few, tokenizer)


@pytest.fixture
def wide(tokenizer: Tokenizer) -> Weights:
    """A network as wide as real ones, with two layers."""
    return network(2, tokenizer)


@pytest.fixture
def teachers(tokenizer: Tokenizer) -> Teachers:
    """Narrow ones, which are fast."""
    from training.teachers import Teachers

    narrow = {"hidden_size": 48, "intermediate_size": 96}
    return Teachers(network(4, tokenizer, **narrow), network(2, tokenizer, **narrow))


def network(layers: int, tokenizer: Tokenizer, **sizes: int) -> Weights:
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    from tests.weights.lay_out import CONFIG

    torch.manual_seed(0)
    sizes |= {"num_hidden_layers": layers, "vocab_size": tokenizer.get_vocab_size()}
    model = BertForSequenceClassification(BertConfig(**CONFIG | sizes, initializer_range=0.2))
    return {name: values.detach() for name, values in model.named_parameters()}
