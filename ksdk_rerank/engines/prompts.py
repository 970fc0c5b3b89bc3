"""Query and document to the token ids of a prompt, for rerankers built on language models.

The model's own chat template lays out the prompt. It runs once per model, with placeholders for the two texts; what
surrounds them stays the same for every pair. Each prompt is then tokenized in one go, so that tokens form across the
borders between prompt and texts as they did in training.

A special token such as `<|im_end|>` ends the turn, so a document that contains one could answer in the model's place.
Here the tokenizer knows each special token by a random name instead, and so does the prompt. In queries and documents
the original names are plain text.

Worked example, a window of 12 tokens, 3 of them after the document: of a prompt of 20 tokens, the first 9 are kept,
then come those 3. Only the document has been cut.
"""

from __future__ import annotations

import json
import re
import secrets
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from string import ascii_lowercase
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from ksdk_rerank.engines.encoding import Encoded, Encoder, WindowTooSmall
from ksdk_rerank.errors import UnsupportedModel

__all__ = ["Prompt", "PromptEncoder"]

_QUERY, _DOCUMENT = "\ue000query\ue001", "\ue000document\ue001"
"""Placeholders in a template, of private characters that no template contains."""

_AT_ONCE = 32
"""Documents put into prompts at once, because each prompt is a copy of its document."""

_SPARE = 4
"""Tokens that are left free, because a text may have a few more within the prompt than by itself."""

_NAME = 24
"""Letters in the random name of a special token: too many to guess."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A model's prompt, with a placeholder for the query.

    Attributes:
        before: the text before the document.
        after: the text after the document.
        strips: whether the template strips whitespace from the query, and from the document.
        padding_side: where the model expects padding. Language models are read at the last position: "left".
    """

    before: str
    after: str
    strips: tuple[bool, bool]
    padding_side: Literal["left", "right"]

    @classmethod
    def of(cls, render: Callable[[str, str], str], padding_side: Literal["left", "right"], model: str) -> Prompt:
        """The prompt that `render` writes for a query and a document.

        Raises:
            UnsupportedModel: it leaves out one of the two, repeats the document or changes the texts.
        """
        text = render(_QUERY, _DOCUMENT)
        if _QUERY not in text or text.count(_DOCUMENT) != 1:
            raise UnsupportedModel(
                f"the chat template of {model} does not show the model one query and one document, so it is not a"
                " reranker's; fetch a revision whose chat_template.jinja has the roles query and document, or serve"
                " this model with vLLM"
            )
        spaced = render(f" \n{_QUERY} \n", f" \n{_DOCUMENT} \n")
        for strips in product((False, True), repeat=2):
            expected = text
            for placeholder, stripped in zip((_QUERY, _DOCUMENT), strips, strict=True):
                expected = expected if stripped else expected.replace(placeholder, f" \n{placeholder} \n")
            if expected == spaced:
                before, after = text.split(_DOCUMENT)
                return cls(before, after, strips, padding_side)
        raise UnsupportedModel(
            f"the chat template of {model} changes the query or the document, which is not supported; serve this model"
            " with vLLM"
        )


class PromptEncoder(Encoder):
    """Encodes a query and its documents as prompts.

    The ids are those of the whole prompt. If they do not fit, only the document is cut: the tokens after it are kept.

    Args:
        tokenizer: the model's tokenizer. It is not changed.
        prompt: the model's prompt.
        max_length: maximum tokens per prompt.
        model: the model's name, for messages.

    Raises:
        WindowTooSmall: `max_length` has no room for a query and a document beside the prompt's own text.
    """

    def __init__(self, tokenizer: Tokenizer, prompt: Prompt, max_length: int, model: str) -> None:
        renamed, names, self._ids = _renamed(tokenizer)
        super().__init__(renamed, max_length, model)
        self.padding_side = prompt.padding_side
        self._strips_query, self._strips_document = prompt.strips
        special = re.compile("|".join(map(re.escape, sorted(names, key=len, reverse=True))) or "(?!)")
        self._before, self._after = (
            special.sub(lambda found: names[found[0]], text) for text in (prompt.before, prompt.after)
        )
        before, after = self._around_document("0")
        own = before + len(after) - 1
        if max_length < own + 2 * _SPARE:
            raise WindowTooSmall(
                f"max_length: {model} would read {max_length} tokens per pair, of which its prompt takes {own}, which"
                f" leaves no room for a query and a document; pass at least {own + 2 * _SPARE}, or better {own + 512}"
            )
        self._longest_query = min(max_length // 2, max_length - own - _SPARE)

    def encode(self, query: str, documents: Sequence[str]) -> Encoded:
        query, query_truncated = self._cut_query(query)
        _, end = self._around_document(query)
        before, after = self._texts(query)
        encoded = Encoded([], [], query_truncated)
        for begin in range(0, len(documents), _AT_ONCE):
            some = documents[begin : begin + _AT_ONCE]
            prompts = [before + (text.strip() if self._strips_document else text) + after for text in some]
            for encoding, longer in self._first_tokens.of(prompts, self._max_length):
                ids = encoding.ids[: self._max_length - len(end)] + end if longer else encoding.ids
                encoded.pairs.append(np.stack([self._ids[ids], np.zeros(len(ids), np.int32)]))
                encoded.truncated.append(longer)
        return encoded

    def document_room(self, query: str) -> int:
        before, after = self._around_document(self._cut_query(query)[0])
        return self._max_length - before - len(after) - _SPARE

    def _cut_query(self, query: str) -> tuple[str, bool]:
        """The part of `query` that the model reads, and whether the query is longer."""
        query = query.strip() if self._strips_query else query
        encoding, longer = self._query(query)
        return query[: encoding.offsets[self._longest_query][0]] if longer else query, longer

    def _texts(self, query: str) -> tuple[str, str]:
        """The prompt for `query`, before its document and after it."""
        return self._before.replace(_QUERY, query), self._after.replace(_QUERY, query)

    def _around_document(self, query: str) -> tuple[int, list[int]]:
        """How many tokens come before a document, and the tokens that come after it."""
        before, after = self._texts(query)
        encoding = self._tokenizer.encode(f"{before}0{after}", add_special_tokens=False)
        starts = [start for start, _ in encoding.offsets]
        first = bisect_right(starts, len(before))
        return bisect_left(starts, len(before)), encoding.ids[first:]


def _renamed(tokenizer: Tokenizer) -> tuple[Tokenizer, dict[str, str], NDArray[np.int32]]:
    """A copy of the tokenizer whose special tokens have random names, those names, and the original id of each id."""
    fields = json.loads(tokenizer.to_str())
    fields.update(post_processor=None, truncation=None, padding=None)
    names: dict[str, str] = {}
    added: dict[str, int] = {}
    for token in fields["added_tokens"]:
        content = token["content"]
        if token["special"]:
            names[content] = token["content"] = "".join(secrets.choice(ascii_lowercase) for _ in range(_NAME))
        added[token["content"]] = token["id"]
    renamed = Tokenizer.from_str(json.dumps(fields))
    ids = np.arange(1 + max(renamed.get_vocab().values()), dtype=np.int32)
    for content, original in added.items():
        ids[renamed.token_to_id(content)] = original
    return renamed, names, ids
