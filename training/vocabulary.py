"""Removes the tokens that no English text uses from the vocabulary, which saves 1,500 rows of embeddings.

Also lists function words and punctuation, which make up a third of English text.
"""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor

__all__ = ["FUNCTION", "prune"]

_SCRIPTS = frozenset(
    """
    ARABIC ARMENIAN BENGALI DEVANAGARI GEORGIAN HANGUL HEBREW KANNADA SINHALA TAMIL THAI TIBETAN
    """.split()  # noqa: SIM905 - words are easier to read like this
)

FUNCTION = frozenset(
    """
    the an of and is are was were be been being that this these those its by as at in on to with for has have had which
    would could should do does did
    , . ; : ( ) [ ] " ' ` / - ! ? * _ | = < >
    """.split()  # noqa: SIM905 - words are easier to read like this
)
"""Tokens that fill documents and that no query is about; not negations, nor possible names (a, it, us, will)."""


def prune(file: Path) -> tuple[Tokenizer, Tensor]:
    """Return the tokenizer without placeholder tokens and `_SCRIPTS`, and the embedding rows that remain.

    The tokenizer neither truncates nor pads.
    """
    content = json.loads(file.read_text(encoding="utf-8"))
    vocabulary: dict[str, int] = content["model"]["vocab"]
    in_order = sorted(vocabulary, key=vocabulary.__getitem__)
    kept = [token for token in in_order if not token.startswith("[unused") and _script(token) not in _SCRIPTS]
    ids = {token: number for number, token in enumerate(kept)}
    content["model"]["vocab"] = ids
    content["truncation"] = content["padding"] = None
    for token in content["added_tokens"]:
        token["id"] = ids[token["content"]]
    for token in content["post_processor"]["special_tokens"].values():
        token["ids"] = [ids[name] for name in token["tokens"]]
    return Tokenizer.from_str(json.dumps(content)), torch.tensor([vocabulary[token] for token in kept])


def _script(token: str) -> str:
    return unicodedata.name(token.removeprefix("##")[0], "?").split()[0]
