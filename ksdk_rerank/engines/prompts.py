"""Query and document to the token ids of a prompt, for rerankers built on language models.

The model's own chat template lays out the prompt. It runs when the model is loaded, with placeholders for the texts;
what surrounds them is the same for every pair. Each prompt is then tokenized in one go, so that tokens form across the
borders of its parts as they did in training.

A special token such as `<|im_end|>` ends the turn, so a document that contains one could answer in the model's place.
Here the tokenizer knows each special token by a random name instead, and so does the prompt. In queries, documents and
instructions the original names are plain text.

Worked example, a window of 12 tokens, 3 of them after the document: of a prompt of 20 tokens the first 9 are kept, then
come those 3. Only the document has been cut.
"""

from __future__ import annotations

import json
import re
import secrets
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from string import ascii_lowercase
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from ksdk_rerank.engines.encoding import Encoded, Encoder, NoInstruction, WindowTooSmall
from ksdk_rerank.errors import UnsupportedModel

__all__ = ["Prompt", "PromptEncoder"]

_QUERY, _DOCUMENT, _INSTRUCTION = (f"\ue000{name}\ue001" for name in ("query", "document", "instruction"))
"""Placeholders for the texts, in private characters that no template contains."""

_AT_ONCE = 32
"""Documents put into prompts at once, because each prompt is a copy of its document."""

_SPARE = 4
"""Tokens that are left free, because a text may have a few more inside the prompt than by itself."""

_LETTERS = 24
"""Length of the random names of special tokens: too long to guess."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """How a model wants to be asked.

    Attributes:
        render: writes the prompt for a query, a document and an instruction, as the model's chat template lays it out.
            None stands for the model's own instruction, if it has one.
        padding_side: where the model expects padding.
    """

    render: Callable[[str, str, str | None], str]
    padding_side: Literal["left", "right"]


@dataclass(frozen=True, slots=True)
class _Layout:
    """A prompt before and after its document, with placeholders for the texts that are not yet known.

    Attributes:
        stripped: the placeholders of texts that the template strips of white space.
    """

    before: str
    after: str
    stripped: frozenset[str]

    def having(self, placeholder: str, text: str) -> _Layout:
        text = text.strip() if placeholder in self.stripped else text
        before, after = (part.replace(placeholder, text) for part in (self.before, self.after))
        return replace(self, before=before, after=after)

    def prompt(self, document: str) -> str:
        return f"{self.before}{document.strip() if _DOCUMENT in self.stripped else document}{self.after}"


class PromptEncoder(Encoder):
    """Encodes a query and its documents as prompts.

    The ids are those of the whole prompt. If they do not fit, only the document is cut: the tokens after it are kept.

    Args:
        tokenizer: the model's tokenizer. It is not changed.
        prompt: how the model wants to be asked.
        max_length: maximum tokens per prompt.
        model: the model's name, for messages.

    Raises:
        UnsupportedModel: the model's chat template has no place for a query and a document.
        WindowTooSmall: `max_length` has no room for a query and a document beside the prompt's own text.
    """

    def __init__(self, tokenizer: Tokenizer, prompt: Prompt, max_length: int, model: str) -> None:
        renamed, names, self._ids = _renamed(tokenizer)
        super().__init__(renamed, max_length, model)
        self.padding_side = prompt.padding_side
        self._default = _layout(prompt, None, names, model)
        instructed = _layout(prompt, _INSTRUCTION, names, model)
        self._instructed = instructed if _INSTRUCTION in instructed.before + instructed.after else None
        self._for_query("", None)  # raises if the window is too small

    def encode(self, query: str, documents: Sequence[str], instruction: str | None = None) -> Encoded:
        layout, query_truncated = self._for_query(query, instruction)
        _, end = self._room(layout)
        encoded = Encoded([], [], query_truncated)
        for begin in range(0, len(documents), _AT_ONCE):
            prompts = [layout.prompt(document) for document in documents[begin : begin + _AT_ONCE]]
            for encoding, longer in self._first_tokens.of(prompts, self.max_length):
                ids = encoding.ids[: self.max_length - len(end)] + end if longer else encoding.ids
                encoded.pairs.append(np.stack([self._ids[ids], np.zeros(len(ids), np.int32)]))
                encoded.truncated.append(longer)
        return encoded

    def document_room(self, query: str, instruction: str | None = None) -> int:
        layout, _ = self._for_query(query, instruction)
        room, _ = self._room(layout)
        return room - _SPARE

    def _for_query(self, query: str, instruction: str | None) -> tuple[_Layout, bool]:
        """The prompt before and after each document, and whether the query was truncated."""
        layout = self._default if instruction is None else self._instructed
        if layout is None:
            raise NoInstruction(self.model)
        layout = layout.having(_INSTRUCTION, instruction or "")
        room, _ = self._room(layout.having(_QUERY, ""))
        if room < 2 * _SPARE:
            own = self.max_length - room
            raise WindowTooSmall(
                f"max_length: {self.model} would read {self.max_length} tokens per pair, of which the prompt itself"
                f" takes {own}, which leaves no room for a query and a document; pass at least {own + 2 * _SPARE}, or"
                f" better {own + 512}"
            )
        longest = min(self.max_length // 2, room - _SPARE)
        encoding, longer = self._query(query, longest)
        if longer:
            end = encoding.offsets[longest][0]  # 0 if the whole query was tokenized, because that leaves offsets out
            query = query[: end or self._tokenizer.encode(query, add_special_tokens=False).offsets[longest][0]]
        return layout.having(_QUERY, query), longer

    def _room(self, layout: _Layout) -> tuple[int, list[int]]:
        """How many tokens a document may have, and the tokens that come after it."""
        encoding = self._tokenizer.encode(layout.prompt("0"), add_special_tokens=False)
        starts = [start for start, _ in encoding.offsets]
        end: list[int] = encoding.ids[bisect_right(starts, len(layout.before)) :]
        return self.max_length - bisect_left(starts, len(layout.before)) - len(end), end


def _layout(prompt: Prompt, instruction: str | None, names: Mapping[str, str], model: str) -> _Layout:
    """The model's prompt, with special tokens under their new names."""
    texts = [text for text in (_QUERY, _DOCUMENT, instruction) if text]
    refusal = UnsupportedModel(
        f"the chat template of {model} has no place for one query and one document, so it is not a reranker's; use a"
        " revision whose chat_template.jinja has the roles query and document, as sentence-transformers 5.4 and later"
        " read them, or serve this model with vLLM"
    )
    try:
        plain = prompt.render(_QUERY, _DOCUMENT, instruction)
        spaced = prompt.render(
            f" \n{_QUERY} \n", f" \n{_DOCUMENT} \n", None if instruction is None else f" \n{instruction} \n"
        )
    except Exception as error:  # there is no template, or it rejects the roles
        raise refusal from error
    if _QUERY not in plain or plain.count(_DOCUMENT) != 1:
        raise refusal
    stripped = frozenset(text for text in texts if f" \n{text} \n" not in spaced)
    for text in texts:
        spaced = spaced.replace(f" \n{text} \n", text)
    if spaced != plain:
        raise UnsupportedModel(
            f"the chat template of {model} does more than lay out the query and the document, which is not supported;"
            " serve this model with vLLM"
        )
    special = re.compile("|".join(map(re.escape, sorted(names, key=len, reverse=True))) or "(?!)")
    before, after = special.sub(lambda found: names[found[0]], plain).split(_DOCUMENT)
    return _Layout(before, after, stripped)


def _renamed(tokenizer: Tokenizer) -> tuple[Tokenizer, dict[str, str], NDArray[np.int32]]:
    """A copy of the tokenizer that has random names for special tokens, the names, and the original id of each id."""
    fields = json.loads(tokenizer.to_str())
    fields.update(post_processor=None, truncation=None, padding=None)
    names: dict[str, str] = {}
    for token in fields["added_tokens"]:
        if token["special"]:
            names[token["content"]] = "".join(secrets.choice(ascii_lowercase) for _ in range(_LETTERS))
            token["content"] = names[token["content"]]
    renamed = Tokenizer.from_str(json.dumps(fields))
    ids = np.arange(1 + max(renamed.get_vocab().values()), dtype=np.int32)
    for token in fields["added_tokens"]:
        ids[renamed.token_to_id(token["content"])] = token["id"]
    return renamed, names, ids
