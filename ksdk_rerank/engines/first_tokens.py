"""Finds the first tokens of a text without tokenizing all of it.

A tokenizer truncates only after it has tokenized the whole text. Cutting the text at a fixed number of characters per
token would be wrong: a token may be a long run of spaces, and a normalizer may delete characters. So only the start of
the text is tokenized. If the first tokens could still change with the text that follows, a longer start is tried, and
finally the whole text. The first tokens cannot change in two cases:

- Enough words follow them. Each word is tokenized by itself, so only words next to the cut can change.
- They are inside a word that is longer than the start, as in Chinese, and they stay the same wherever that word is cut
  shortly after them. For Unigram models this is a proof: one of these cuts is a token boundary of the whole text, and
  the best path to a boundary does not depend on what follows. For BPE, which merges neighbours, no counterexample is
  known.

WordPiece gives up on a word that is too long, so only the first rule holds for it. With BERT's own word rules, the part
of such a word beyond the limit (say, a megabyte of hexadecimal digits) is dropped before a longer start is tried. Long
runs of spaces are shortened too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from unicodedata import combining

from tokenizers import Encoding, Tokenizer, models, normalizers, pre_tokenizers

__all__ = ["FirstTokens"]

_AT_ONCE = 32
"""Texts tokenized at once: a tokenizer takes about 100 bytes per token."""

_CHARACTERS = 8
"""Characters per token in the first start tried: enough for most prose and code, so a second try is rare."""

_SPARE = 64
"""Extra tokens beyond those needed: the first start has room for them, and test cuts in a long word come after them."""

_WORDS = 16
"""Words required between the needed tokens and the cut, which may break an added token such as `<|reserved_token_7|>`
into ten."""

_LONGEST_PIECE = 16
"""Longest token in characters: sentencepiece's default for `max_sentencepiece_length`
(https://github.com/google/sentencepiece/blob/master/doc/options.md, read 2026-11-26)."""

_WORTH = 4
"""Proving that a start's tokens are final may tokenize at most this many times its characters. If it would take more, a
longer start is tried instead."""


class FirstTokens:
    """Tokenizes no more of a text than needed. The ids are the same as for the whole text, truncated.

    Args:
        tokenizer: must have truncation and padding switched off. It is never changed, so threads may share it.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._splits_any_word = isinstance(tokenizer.model, (models.BPE, models.Unigram))
        self._shortenable = _shortenable_runs(tokenizer)

    def of(self, texts: Sequence[str], count: int) -> Iterator[tuple[Encoding, bool]]:
        """For each text, an encoding that begins with its first `count` tokens, and whether the text has more."""
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

    def count(self, texts: Sequence[str]) -> list[int]:
        """How many tokens each text has."""
        chunks = (texts[begin : begin + _AT_ONCE] for begin in range(0, len(texts), _AT_ONCE))
        return [len(encoding) for chunk in chunks for encoding in self._encoded(chunk)]

    def _of_long(self, text: str, count: int, cut: int, start: Encoding) -> tuple[Encoding, bool]:
        while not self._settled(text, start, count, cut):
            if self._shortenable is not None:
                text = self._shortenable.sub(r"\1\2", text)
            cut *= 8
            if cut >= len(text):
                (whole,) = self._encoded([text])
                return whole, len(whole) > count
            (start,) = self._with_words([text[:cut]])
        return start, True

    def _settled(self, text: str, start: Encoding, count: int, cut: int) -> bool:
        """Whether the text's first `count` tokens are known from `start`, the encoding of its first `cut` characters.

        False also if `start` has no token beyond those `count`.
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
        if all(map(combining, text[begin:end])):  # a normalizer may reorder a run of accents of any length
            return False
        expected = start.ids[: count + 1]
        cuts = self._encoded([text[: max(0, end - less)] for less in range(_LONGEST_PIECE)])
        return all(encoding.ids[: count + 1] == expected for encoding in cuts)

    def _encoded(self, texts: Sequence[str]) -> list[Encoding]:
        """Encodings without offsets and word ids, which is faster."""
        encodings: list[Encoding] = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return encodings

    def _with_words(self, texts: Sequence[str]) -> list[Encoding]:
        """Encodings with offsets and word ids."""
        encodings: list[Encoding] = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return encodings


def _shortenable_runs(tokenizer: Tokenizer) -> re.Pattern[str] | None:
    """A pattern for runs of characters that can be shortened to the matched group without changing the tokens.

    None if the tokenizer is not WordPiece with BERT's own normalizer and word rules.
    """
    model = tokenizer.model
    if not (
        isinstance(model, models.WordPiece)
        and isinstance(tokenizer.normalizer, normalizers.BertNormalizer)
        and isinstance(tokenizer.pre_tokenizer, pre_tokenizers.BertPreTokenizer)
    ):
        return None
    too_long = model.max_input_chars_per_word + 1
    return re.compile(rf"(?<![0-9A-Za-z])([0-9A-Za-z]{{{too_long}}})[0-9A-Za-z]+|([ \t\r\n])[ \t\r\n]+")
