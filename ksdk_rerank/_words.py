"""The words of a text, for those who compare texts by them."""

from __future__ import annotations

import re

__all__ = ["words_of"]

_IDEOGRAPHS = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_WORD = re.compile(f"[{_IDEOGRAPHS}]|[^\\W_{_IDEOGRAPHS}]+")


def words_of(text: str) -> list[str]:
    """The words of `text` in order, without case; in Chinese and Japanese each character is one."""
    return _WORD.findall(text.casefold())
