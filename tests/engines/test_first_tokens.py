"""The first tokens of a text are those of the whole text, whatever the tokenizer, and cost no more than they must."""

from __future__ import annotations

import base64
import random
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tiny_models import bert_tokenizer, xlm_roberta_tokenizer
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

import ksdk_rerank.models
from ksdk_rerank.engines.first_tokens import FirstTokens

SAMPLE = [
    "The quick brown fox jumps over the lazy dog, and then some -------- more ======== of it.",
    "def rotate(key):\n    return key[::-1]    # rotated\n\n\n\n",
    "这是一个测试、我们在这里写一些中文句子。今天天气很好。哈哈哈哈哈哈",
    "ここに日本語の文章があります。テストです。ฉันชอบกินข้าวและดื่มน้ำ",
    "naïve café Ångström Привет как дела αβγ שלום مرحبا हिन्दी में लिखा",
    "aaaaaaaa bbbb abababab aaaa xyz 0123456789 00000000 🙂🙂🙂 👩‍👩‍👧‍👦 🇩🇪",
]


def embedded() -> Tokenizer:
    """BERT's own vocabulary and normalizer."""
    return Tokenizer.from_file(str(Path(ksdk_rerank.models.__file__).parent / "embedded" / "tokenizer.json"))


def byte_level_bpe() -> Tokenizer:
    """As RoBERTa's, ModernBERT's and Qwen's."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(SAMPLE * 4, trainer)
    tokenizer.add_special_tokens(["<|reserved_special_token_250|>", AddedToken("<mask>", lstrip=True)])
    return tokenizer


def bpe_without_words() -> Tokenizer:
    """As Llama's first one: the whole text is one word."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    trainer = trainers.BpeTrainer(vocab_size=500, special_tokens=["<unk>"], show_progress=False)
    tokenizer.train_from_iterator([text.replace(" ", "▁") for text in SAMPLE * 4], trainer)
    return tokenizer


def unigram() -> Tokenizer:
    """As XLM-RoBERTa's, with real pieces, and no words at all in Chinese."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=400, special_tokens=["<unk>"], unk_token="<unk>", show_progress=False, max_piece_length=16
    )
    tokenizer.train_from_iterator(SAMPLE * 4, trainer)
    return tokenizer


def unigram_of_long_pieces() -> Tokenizer:
    """The whole text is one word, and where a run of one letter leaves a rest, the rest comes first."""
    pieces = [("<unk>", 0.0), ("▁", -2.0), *((letter, -6.0) for letter in "abcdefghij哈測"), ("aaa", -6.0)]
    pieces += [("bbbbbbb", -5.0), ("哈哈哈哈哈", -4.0), ("c" * 16, -3.0), ("ab" * 8, -4.0), ("ba", -7.0)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(split=False)
    return tokenizer


TOKENIZERS: dict[str, Callable[[], Tokenizer]] = {
    "embedded": embedded,
    "tiny-bert": bert_tokenizer,
    "tiny-xlm-roberta": xlm_roberta_tokenizer,
    "byte-level-bpe": byte_level_bpe,
    "bpe-without-words": bpe_without_words,
    "unigram": unigram,
    "unigram-of-long-pieces": unigram_of_long_pieces,
}


@cache
def made(name: str) -> Tokenizer:
    tokenizer = TOKENIZERS[name]()
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def agrees(name: str, texts: list[str], count: int) -> None:
    """The promise: what whole tokenization, then truncation, gives."""
    tokenizer = made(name)
    found = list(FirstTokens(tokenizer).of(texts, count))
    for text, (encoding, more) in zip(texts, found, strict=True):
        whole = tokenizer.encode(text, add_special_tokens=False).ids
        assert encoding.ids[:count] == whole[:count]
        assert more == (len(whole) > count)


PARTS = st.one_of(
    st.text(max_size=20),
    st.sampled_from(SAMPLE),
    st.sampled_from([" ", "\n", "\t ", "\x00", "\u200b", "\u0301", "\u0316", "\ufffd", "\u3000", "\xa0", "\xad"]),
    st.sampled_from(
        ["a", "ab", "c", "-", "=", ".", "哈", "測試", "🙂", "👩\u200d👧", "e\u0301", "ﷺ", "½", "##a", "##"]
    ),
    st.sampled_from(["0aF", "Zz9_", "0" * 100, "\x1c", " \x1f", "K"]),
    st.sampled_from(["[SEP]", "[UNK]", "<mask>", "   <mask>", "<|reserved_special_token_250|>", "</s>"]),
)
TEXTS = st.lists(st.tuples(PARTS, st.sampled_from([1, 1, 1, 3, 40, 101, 300])), min_size=1, max_size=5).map(
    lambda parts: "".join(part * times for part, times in parts)
)


@pytest.mark.parametrize("name", TOKENIZERS)
@given(texts=st.lists(TEXTS, min_size=1, max_size=3), count=st.integers(1, 40))
@example(texts=["x" * 3000 + " y"], count=3)  # one [UNK] for BERT, whose length decides
@example(texts=["x" * 99 * 80, ("x" * 99 + " ") * 80], count=8)
@example(texts=["a" * length for length in range(2999, 3003)], count=8)
@example(texts=["ab" * 1500, "ab" * 1500 + "a", "b" * 3000, "c" * 3001, "哈" * 2998], count=8)
@example(texts=["key" + " " * 9000 + "key", "key" + "\x01" * 9000 + "key"], count=2)
@example(texts=["e" + "\u0301" * 4000 + "\u0316" + " key" * 50], count=3)
@example(
    texts=["key " + "0f" * 3000 + "é key", "é" + "0f" * 3000 + "_" + "0f" * 3000, "[UNK]" + "a" * 3000 + "[SEP]"],
    count=5,
)
@example(texts=["key" + " \x1c" * 3000 + " \n\x1c" * 900 + "key", ("x" * 101 + "é" * 3 + " ") * 40], count=30)
@example(texts=["☃" * 9000 + "a", "\u0e01" * 9000], count=5)
@settings(max_examples=15, deadline=None)
def test_the_first_tokens_are_those_of_the_whole_text(name: str, texts: list[str], count: int) -> None:
    agrees(name, texts, count)


@pytest.mark.parametrize("name", TOKENIZERS)
def test_every_cut_of_running_text_gives_the_same_tokens(name: str) -> None:
    text = " ".join(SAMPLE) * 15
    for count in (1, 30, 500):
        agrees(name, [text[start:] for start in range(0, 60, 7)], count)


class Watched:
    """A tokenizer that notes how many characters it is given."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self.model, self.normalizer = tokenizer.model, tokenizer.normalizer
        self.pre_tokenizer = tokenizer.pre_tokenizer
        self.characters = 0

    def __getattr__(self, name: str) -> Callable[..., object]:
        def encode(texts: list[str], **options: object) -> object:
            self.characters += sum(map(len, texts))
            return getattr(self._tokenizer, name)(texts, **options)

        return encode


LONG = {  # of 60,000 characters: twice as many as may be read, and no more, as the whole text is tokenized to compare
    "prose": " ".join(SAMPLE) * 170,
    "base64": base64.b64encode(random.Random(1).randbytes(45_000)).decode(),
    "chinese": "".join(random.Random(2).choices("这是一个测试我们在这里写一些中文句子今天天气很好", k=60_000)),
    "dashes": "-" * 60_000,
    "emoji": "🙂" * 60_000,
    "json": '{"key": [0, 1, 2, null], "other": "value"}, ' * 1_400,
    "lines": "line\n\n\n        " * 4_100,
    "hexadecimal": "key " * 80 + random.Random(3).randbytes(30_000).hex() + " key" * 80,
    "spaces": "key " * 80 + " " * 30_000 + "\n\t " * 10_000 + " key" * 80,
}


# BERT takes a word of such a length for one [UNK], and Unigram may begin a run with what is left over at its end: their
# first tokens do depend on the whole text.
UNDECIDED = {("embedded", "emoji"), ("unigram", "dashes"), ("unigram", "emoji"), ("unigram", "spaces")}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (name, kind)
        for name in ("embedded", "byte-level-bpe", "unigram")
        for kind in LONG
        if (name, kind) not in UNDECIDED
    ],
)
def test_a_long_text_costs_what_its_start_costs(name: str, kind: str) -> None:
    text = LONG[kind]
    watched = Watched(made(name))
    ((encoding, more),) = FirstTokens(watched).of([text], 100)  # type: ignore[arg-type]
    assert more
    assert encoding.ids[:100] == made(name).encode(text, add_special_tokens=False).ids[:100]
    assert len(text) > 58_000
    assert watched.characters < 30_000


@pytest.mark.parametrize("name", TOKENIZERS)
def test_a_text_of_few_tokens_is_read_to_its_end_in_linear_time(name: str) -> None:
    watched = Watched(made(name))
    text = "key" + " " * 10_000 + "x" * 10_000 + "\x01" * 10_000 + "a" * 10_000 + " key"
    list(FirstTokens(watched).of([text], 500))  # type: ignore[arg-type]
    assert watched.characters < 4 * len(text)
