"""`load_reranker`: a reranker from a short name, for configuration files, command lines and adapters."""

from __future__ import annotations

import os

from ksdk_rerank.base import Reranker

__all__ = ["load_reranker"]

_NAMES = "lexical, input-order, a hub id such as cross-encoder/ms-marco-MiniLM-L-6-v2, or a folder"


def load_reranker(name: str | Reranker) -> Reranker:
    """Build the reranker that `name` stands for; a `Reranker` is handed back as it is.

    Args:
        name: `"lexical"`, `"input-order"`, or a local cross-encoder: a hub id such as
            `"cross-encoder/ms-marco-MiniLM-L-6-v2"`, or a folder. For any option beside the name, use the class.

    Raises:
        ValueError: no reranker goes by that name.
        TypeError: `name` is neither a string nor a `Reranker`.

    Nothing is loaded or downloaded before the first `rank`.
    """
    if isinstance(name, Reranker):
        return name
    if not isinstance(name, str):
        raise TypeError(f"a reranker is a Reranker or a name, got {type(name).__name__}")
    if name == "lexical":
        from ksdk_rerank.rerankers.lexical import LexicalReranker

        return LexicalReranker()
    if name == "input-order":
        from ksdk_rerank.rerankers.input_order import InputOrder

        return InputOrder()
    if "/" in name or os.path.isdir(name):
        from ksdk_rerank.rerankers.cross_encoder import CrossEncoderReranker

        return CrossEncoderReranker(name)
    raise ValueError(f"no reranker is called {name!r}; use one of: {_NAMES}")
