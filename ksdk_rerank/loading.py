"""`load_reranker`: a reranker from a short name, for configuration files, command lines and adapters."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from importlib.util import find_spec

import ksdk_rerank
from ksdk_rerank.base import Reranker
from ksdk_rerank.models import EMBEDDED

__all__ = ["default_name", "load_reranker"]

# The classes are names of the package's exports: each is imported when it is asked for.
_ALONE = {"lexical": "LexicalReranker", "input-order": "InputOrder"}
_WITH_MODEL = {"cohere": "CohereReranker", "jina": "JinaReranker"}
_WITH_URL = {"tei": "TEIReranker", "vllm": "VLLMReranker", "infinity": "InfinityReranker"}

_EXAMPLES = {**dict.fromkeys(_WITH_MODEL, "MODEL"), **dict.fromkeys(_WITH_URL, "URL")}

_PATH = re.compile(r"(\.{0,2}|~[^/\\]*|[A-Za-z]:)[/\\]|[^:]*\\")
"""How names of folders begin that are no hub ids: `/`, `./`, `~/`, `C:\\`; and any relative one with backslashes."""

_URL = re.compile("https?://", re.IGNORECASE)
_SECRETS = re.compile(r"(?<=://)[^/@\s]*(?=@)|(?<=\?).*")

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

            Upper and lower case count: `"Cohere/x"` is a hub id, `"cohere/x"` is refused as a misspelt `"cohere:x"`.
            `CrossEncoderReranker` takes every hub id as it is. For any option beside the name, use the class, or what
            `to_config` writes of it: see `from_config`.

    Raises:
        ValueError: no reranker goes by that name, or the URL is malformed. The message lists the names.
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
    name = name.strip()
    if name in _ALONE:
        return _exported(_ALONE[name])()
    kind, colon, rest = (part.strip() for part in name.partition(":"))
    if colon and kind in _WITH_MODEL:
        if not rest:
            raise ValueError(f"{kind}: names no model; write {kind}:MODEL")
        return _exported(_WITH_MODEL[kind])(rest)
    if colon and kind in _WITH_URL:
        url, _, model = (part.strip() for part in rest.partition("#"))
        return _exported(_WITH_URL[kind])(url, model=model or None)
    if name == EMBEDDED or os.path.isdir(name) or _PATH.match(name) or _is_hub_id(name):
        return _exported("CrossEncoderReranker")(name)
    raise ValueError(_advice(name))


def default_name() -> str:
    """What the commands use unless they are told: the embedded model, or BM25 if what runs it is not installed."""
    return EMBEDDED if find_spec("tokenizers") and find_spec("onnxruntime") else "lexical"


def _is_hub_id(name: str) -> bool:
    """Whether `name` may be a model of the hub. A hub id has no colon, and a prefix is no organisation."""
    organisation, slash, _ = name.partition("/")
    return bool(slash) and ":" not in name and organisation not in {EMBEDDED, *_ALONE, *_EXAMPLES}


def _advice(name: str) -> str:
    """What is wrong with a name that stands for nothing, and the nearest one that would."""
    shown = _SECRETS.sub("***", name)
    nearest = _nearest(shown)
    meant = f" (did you mean {nearest!r}?)" if nearest else ""
    if nearest and ":" not in name and "/" in name:
        meant = f" (did you mean {nearest!r}? a model of that name on the hub is CrossEncoderReranker({shown!r}))"
    return f"no reranker is called {shown!r}{meant}; use one of: {_NAMES}"


def _nearest(name: str) -> str | None:
    if _URL.match(name):
        return f"tei:{name}"  # or vllm:, or infinity:, as the list says
    head, rest = [*re.split("[:/]", name, maxsplit=1), ""][:2]
    close = get_close_matches(head.lower().replace("_", "-"), [EMBEDDED, *_ALONE, *_EXAMPLES], n=1)
    return next((f"{kind}:{rest or _EXAMPLES[kind]}" if kind in _EXAMPLES else kind for kind in close), None)


def _exported(class_name: str) -> Callable[..., Reranker]:
    made: Callable[..., Reranker] = getattr(ksdk_rerank, class_name)
    return made
