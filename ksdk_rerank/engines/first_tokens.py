"""The first tokens of a text, without tokenizing all of it.

A tokenizer's own truncation comes after it has tokenized everything, and a fixed number of characters per token would
be wrong: a token may be a long run of spaces, and a normalizer may delete characters. So a start of the text is
tokenized. If its first tokens can still change with what follows, a longer start is tried, and in the end the whole
text. They cannot change if

- enough words follow them: a word is tokenized by itself, and only those next to the cut can change; or
- they are inside a word that is longer than the start, as in Chinese, and stay the same wherever it is cut shortly
  after them. That proves it for Unigram models: one of these cuts is a token boundary of the whole text, and the best
  path to a boundary does not depend on what follows. For BPE, which merges neighbours, it leaves no known case.

WordPiece gives up a word that is too long, so only the first rule holds for it. With BERT's own rules for words, what
such a word has beyond its limit, such as a megabyte of hexadecimal digits, is left out before a longer start is tried,
and so are long runs of spaces.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from unicodedata import combining

from tokenizers import Encoding, Tokenizer, models, normalizers, pre_tokenizers

__all__ = ["FirstTokens"]

_AT_ONCE = 32
"""Texts: a tokenizer takes about 100 bytes per token."""

_CHARACTERS = 8
"""Per token in the first start: enough for most prose and code, so that a second start is seldom needed."""

_SPARE = 64
"""Tokens beyond those that are needed: for the length of the first start, and where a long word is cut for a test."""

_WORDS = 16
"""Between the tokens that count and the cut, which may break an added token such as `<|reserved_token_7|>` into ten."""

_LONGEST_PIECE = 16
"""Characters: sentencepiece's default for `max_sentencepiece_length`
(https://github.com/google/sentencepiece/blob/master/doc/options.md, read 2026-11-26)."""

_WORTH = 4
"""Times the characters of a start: what may be tokenized to prove that its tokens stay; else a longer one is tried."""


class FirstTokens:
    """Tokenizes as much of a text as is needed. The ids are those of the whole text, truncated.

    Args:
        tokenizer: without truncation and padding; it is never changed, so threads may share it.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._splits_any_word = isinstance(tokenizer.model, (models.BPE, models.Unigram))
        self._idle = _idle(tokenizer)

    def of(self, texts: Sequence[str], count: int) -> Iterator[tuple[Encoding, bool]]:
        """For each text an encoding that begins with its first `count` tokens, and whether it has more than those."""
        cut = _CHARACTERS * (count + _SPARE)
        for begin in range(0, len(texts), _AT_ONCE):
            some = texts[begin : begin + _AT_ONCE]
            short = iter(self._encoded([text for text in some if len(text) <= cut]))
            long = iter(self._with_words([text[:cut] for text in some if len(text) > cut]))
            for text in some:
                if len(text) > cut:
                    yield self._of_long(text, count, cut, next(long))
                else:
                    encoding = next(short)
                    yield encoding, len(encoding) > count

    def _of_long(self, text: str, count: int, cut: int, start: Encoding) -> tuple[Encoding, bool]:
        while not self._settled(text, start, count, cut):
            if self._idle is not None:
                text = self._idle.sub(r"\1\2", text)
            cut *= 8
            if cut >= len(text):
                (whole,) = self._encoded([text])
                return whole, len(whole) > count
            (start,) = self._with_words([text[:cut]])
        return start, True

    def _settled(self, text: str, start: Encoding, count: int, cut: int) -> bool:
        """Whether the text has more than `count` tokens, and up to there they are those of `start`, its first `cut`
        characters.
        """
        if len(start) <= count:
            return False
        words = start.word_ids
        if (words[-1] or 0) - (words[count] or 0) >= _WORDS:
            return True
        if not self._splits_any_word or len(start) <= count + _SPARE:
            return False
        begin, end = start.offsets[count][1], start.offsets[count + _SPARE][1]
        if _LONGEST_PIECE * end > _WORTH * cut:
            return False
        if all(map(combining, text[begin:end])):  # a normalizer may sort a run of accents, however long
            return False
        expected = start.ids[: count + 1]
        cuts = self._encoded([text[: max(0, end - less)] for less in range(_LONGEST_PIECE)])
        return all(encoding.ids[: count + 1] == expected for encoding in cuts)

    def _encoded(self, texts: Sequence[str]) -> list[Encoding]:
        encodings: list[Encoding] = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return encodings

    def _with_words(self, texts: Sequence[str]) -> list[Encoding]:
        encodings: list[Encoding] = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return encodings


def _idle(tokenizer: Tokenizer) -> re.Pattern[str] | None:
    """Runs of characters of which all but the group make no difference to the tokens, where that is known."""
    model = tokenizer.model
    if not (
        isinstance(model, models.WordPiece)
        and isinstance(tokenizer.normalizer, normalizers.BertNormalizer)
        and isinstance(tokenizer.pre_tokenizer, pre_tokenizers.BertPreTokenizer)
    ):
        return None
    too_long = model.max_input_chars_per_word + 1
    return re.compile(rf"(?<![0-9A-Za-z])([0-9A-Za-z]{{{too_long}}})[0-9A-Za-z]+|([ \t\r\n])[ \t\r\n]+")
