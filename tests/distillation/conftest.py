"""A small corpus, tokenizer and teacher: real code, random weights."""

from __future__ import annotations

import random
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from distillation.corpus import Corpus
    from distillation.models import Bert
    from distillation.teachers import Teachers

if not all(map(find_spec, ("torch", "onnx", "safetensors", "tokenizers", "bm25s"))):
    collect_ignore_glob = ["test_*.py"]

WORDS = "river mountain lake forest bridge castle village road island harbour keeps feeds crosses borders".split()  # noqa: SIM905
NUMBERS = [str(1900 + year) for year in range(30)]


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    from distillation.near_misses import STOP, UNRELATED, VERBS

    reserved = ["[PAD]", *(f"[unused{i}]" for i in range(99)), "[UNK]", "[CLS]", "[SEP]"]
    others = " ".join(UNRELATED.replace("{}", "").replace(".", "").split("|")).split()
    names = dict.fromkeys([*reserved, *STOP, *VERBS, "not", *others, *WORDS, *NUMBERS])
    found = Tokenizer(models.WordPiece({name: i for i, name in enumerate(names)}, unk_token="[UNK]"))
    found.normalizer = normalizers.BertNormalizer()
    found.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    found.post_processor = processors.BertProcessing(("[SEP]", 102), ("[CLS]", 101))
    return found


@pytest.fixture(scope="session")
def corpus(tokenizer: Tokenizer) -> Corpus:
    from distillation.corpus import prepare
    from distillation.texts import Unit

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
def teachers(tokenizer: Tokenizer) -> Teachers:
    import torch

    from distillation.models import Bert
    from distillation.teachers import Similarity, Teachers

    torch.manual_seed(0)
    found = [Bert(layers, tokenizer.get_vocab_size()) for layers in (4, 2)]
    for values in (values for one in found for values in one.parameters() if values.ndim == 2):
        torch.nn.init.normal_(values, std=0.05)
    torch.nn.init.normal_(found[0].classifier.weight, std=1)
    teachers = Teachers(found[0], Similarity(found[1]))
    teachers.eval().requires_grad_(False)
    return teachers


@pytest.fixture
def teacher(teachers: Teachers) -> Bert:
    return teachers.cross
