"""`load_reranker`: a reranker from a short name, for configuration files, command lines and adapters."""

from __future__ import annotations

import os
from collections.abc import Mapping

from ksdk_rerank.base import Reranker

__all__ = ["load_reranker"]

_NAMES = (
    "lexical, input-order, cohere:MODEL, jina:MODEL, tei:URL, vllm:URL#MODEL, infinity:URL#MODEL, a hub id such as"
    " cross-encoder/ms-marco-MiniLM-L-6-v2, or a folder"
)


def load_reranker(name: str | Reranker | Mapping[str, object]) -> Reranker:
    """Build the reranker that `name` stands for; a `Reranker` is handed back as it is.

    Args:
        name: one of

            - `"lexical"`, `"input-order"`
            - `"cohere:rerank-v3.5"`, `"jina:jina-reranker-v2-base-multilingual"`: the key is in the environment
            - `"tei:http://localhost:8080"`, `"vllm:http://localhost:8000"`, `"infinity:http://localhost:7997"`: no key.
              Where the server has several models, name one behind the URL:
              `"vllm:http://localhost:8000#BAAI/bge-reranker-v2-m3"`
            - a local cross-encoder: a hub id such as `"cross-encoder/ms-marco-MiniLM-L-6-v2"`, or a folder

            For any option beside the name, use the class, or what `to_config` writes of it: see `from_config`.

    Raises:
        ValueError: no reranker goes by that name, or the URL is malformed.
        TypeError: `name` is neither a string nor a `Reranker`.
        MissingKey: a hosted reranker's key is not in the environment.
        MissingExtra: the reranker's package is not installed.

    Nothing is loaded or downloaded before the first `rank`.
    """
    if isinstance(name, Reranker):
        return name
    if isinstance(name, Mapping):
        from ksdk_rerank.configuring import from_config

        return from_config(name)
    if not isinstance(name, str):
        raise TypeError(f"a reranker is a Reranker or a name, got {type(name).__name__}")
    if name == "lexical":
        from ksdk_rerank.rerankers.lexical import LexicalReranker

        return LexicalReranker()
    if name == "input-order":
        from ksdk_rerank.rerankers.input_order import InputOrder

        return InputOrder()
    kind, colon, rest = name.partition(":")
    if colon and kind in ("cohere", "jina", "tei", "vllm", "infinity"):
        return _service(kind, rest)
    if "/" in name or os.path.isdir(name):
        from ksdk_rerank.rerankers.cross_encoder import CrossEncoderReranker

        return CrossEncoderReranker(name)
    raise ValueError(f"no reranker is called {name!r}; use one of: {_NAMES}")


def _service(kind: str, rest: str) -> Reranker:
    url, _, model = rest.partition("#")
    if kind in ("cohere", "jina"):
        if not rest:
            raise ValueError(f"{kind}: names no model; write {kind}:MODEL")
        if kind == "cohere":
            from ksdk_rerank.rerankers.cohere import CohereReranker

            return CohereReranker(rest)
        from ksdk_rerank.rerankers.jina import JinaReranker

        return JinaReranker(rest)
    from ksdk_rerank.rerankers.server import InfinityReranker, TEIReranker, VLLMReranker

    if kind == "tei":
        return TEIReranker(url, model=model or None)
    if kind == "vllm":
        return VLLMReranker(url, model=model or None)
    return InfinityReranker(url, model=model or None)
