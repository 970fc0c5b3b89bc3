"""`load_reranker`: a reranker from a short name, for configuration files, command lines and adapters."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from importlib.util import find_spec

import ksdk_rerank
from ksdk_rerank.base import Reranker
from ksdk_rerank.models import EMBEDDED

__all__ = ["default_name", "load_reranker"]

# The classes are names of the package's exports: each is imported when it is asked for.
_ALONE = {"lexical": "LexicalReranker", "input-order": "InputOrder"}
_WITH_MODEL = {"cohere": "CohereReranker", "jina": "JinaReranker"}
_WITH_URL = {"tei": "TEIReranker", "vllm": "VLLMReranker", "infinity": "InfinityReranker"}

_NAMES = (
    "embedded, lexical, input-order, cohere:MODEL, jina:MODEL, tei:URL, vllm:URL#MODEL, infinity:URL#MODEL, a hub id"
    " such as cross-encoder/ms-marco-MiniLM-L-6-v2, or a folder"
)


def load_reranker(name: str | Reranker | Mapping[str, object]) -> Reranker:
    """Build the reranker that `name` stands for; a `Reranker` is handed back as it is.

    Args:
        name: one of

            - `"embedded"`: the English cross-encoder that comes with the package
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
        return ksdk_rerank.from_config(name)
    if not isinstance(name, str):
        raise TypeError(f"a reranker is a Reranker or a name, got {type(name).__name__}")
    if name in _ALONE:
        return _exported(_ALONE[name])()
    kind, colon, rest = name.partition(":")
    if colon and kind in _WITH_MODEL:
        if not rest:
            raise ValueError(f"{kind}: names no model; write {kind}:MODEL")
        return _exported(_WITH_MODEL[kind])(rest)
    if colon and kind in _WITH_URL:
        url, _, model = rest.partition("#")
        return _exported(_WITH_URL[kind])(url, model=model or None)
    if name == EMBEDDED or "/" in name or os.path.isdir(name):
        return _exported("CrossEncoderReranker")(name)
    raise ValueError(f"no reranker is called {name!r}; use one of: {_NAMES}")


def default_name() -> str:
    """What the commands use unless they are told: the embedded model, or BM25 where no engine is there to run it."""
    can_run_models = find_spec("tokenizers") is not None and any(map(find_spec, ("onnxruntime", "openvino")))
    return EMBEDDED if can_run_models else "lexical"


def _exported(class_name: str) -> Callable[..., Reranker]:
    made: Callable[..., Reranker] = getattr(ksdk_rerank, class_name)
    return made
