"""`load_reranker`: builds a reranker from a short name."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from importlib.util import find_spec
from typing import cast

from ksdk_rerank._exports import exported
from ksdk_rerank.base import Reranker
from ksdk_rerank.errors import without_credentials
from ksdk_rerank.loading.configurations import from_config
from ksdk_rerank.loading.registry import BUILT_IN, EMBEDDED, WITH_MODEL, WITH_URL, WITHOUT_MODEL, Plugin, plugins

__all__ = ["default_name", "load_reranker", "reranker_names"]

_EXAMPLES = {**dict.fromkeys(WITH_MODEL, "MODEL"), **dict.fromkeys(WITH_URL, "URL")}

_PATH = re.compile(r"(\.{0,2}|~[^/\\]*|[A-Za-z]:)[/\\]|[^:]*\\")
"""How a folder's name begins, unlike a hub id: `/`, `./`, `~/`, `C:\\`. Any path with backslashes counts, too."""

_URL = re.compile("https?://", re.IGNORECASE)
_USER = re.compile(r"https?://[^/\s]*@", re.IGNORECASE)


def load_reranker(name: str | Reranker | Mapping[str, object]) -> Reranker:
    """Build the reranker that `name` stands for. A `Reranker` is returned unchanged.

    Args:
        name: a `Reranker`, a configuration (see `from_config`), or one of these names:

            - `"embedded"`: the English cross-encoder that comes with the package
            - `"lexical"`, `"input-order"`
            - `"cohere:rerank-v3.5"`, `"jina:jina-reranker-v2-base-multilingual"`, `"voyage:rerank-2.5"`,
              `"nvidia:nvidia/llama-nemotron-rerank-1b-v2"`: the key comes from the environment
            - `"tei:http://localhost:8080"`, `"vllm:http://localhost:8000"`, `"infinity:http://localhost:7997"`: no key.
              If the server has several models, add the model's name after the URL:
              `"vllm:http://localhost:8000#BAAI/bge-reranker-v2-m3"`
            - `"http://localhost:8080"`, `"https://rerank.example.com/v1#MODEL"`: a `RerankEndpoint`, for any other
              server of the same kind; no key
            - a local cross-encoder: a hub id such as `"cross-encoder/ms-marco-MiniLM-L-6-v2"`, or a folder
            - `"acme"` or `"acme:MODEL"`: a reranker that another package registers as `acme`. Its class gets everything
              after the colon as its only argument

            Names are case-sensitive: `"Cohere/x"` is a hub id, `"cohere/x"` is refused as a misspelling of
            `"cohere:x"`. `CrossEncoderReranker` accepts any hub id. For other options, use the class or a
            configuration.

    Raises:
        ValueError: no reranker has that name, or the URL is malformed. The message lists the names.
        TypeError: `name` is neither a string, a mapping nor a `Reranker`.
        MissingKey: a hosted reranker's key is not in the environment.
        MissingExtra: the reranker's package is not installed.
        PluginError: another package registers the name, but its reranker cannot be loaded; or two packages do.

    Nothing is loaded or downloaded before the first `rank`.
    """
    if isinstance(name, Reranker):
        return name
    if isinstance(name, Mapping):
        return from_config(name)
    if isinstance(name, type):
        raise TypeError(
            f"a reranker must be a Reranker, a name or a configuration, got the class {name.__name__}; create an"
            f" instance: {name.__name__}(...)"
        )
    if not isinstance(name, str):
        raise TypeError(
            f"a reranker must be a Reranker, a name or a configuration, got {type(name).__name__}; wrap a LangChain"
            " compressor in CompressorReranker, and a LlamaIndex postprocessor in PostprocessorReranker"
        )
    name = name.strip()
    if name in WITHOUT_MODEL:
        return _exported(WITHOUT_MODEL[name])()
    kind, colon, rest = (part.strip() for part in name.partition(":"))
    if colon and kind in WITH_MODEL:
        if not rest:
            raise ValueError(f"{kind!r} needs a model; write {kind}:MODEL")
        return _exported(WITH_MODEL[kind])(rest)
    if colon and kind in WITH_URL:
        return _server(WITH_URL[kind], rest)
    if _URL.match(name):
        return _server("RerankEndpoint", name)
    if name == EMBEDDED or _PATH.match(name) or _is_hub_id(name):
        return _exported("CrossEncoderReranker")(name)
    others = plugins()
    if kind in others:
        return others[kind].named(rest if colon else None)
    if os.path.isdir(name):
        return _exported("CrossEncoderReranker")(name)
    raise ValueError(_advice(name, others))


def default_name() -> str:
    """The commands' default: the embedded model, or BM25 if the packages that run it are not installed."""
    return EMBEDDED if find_spec("tokenizers") and find_spec("onnxruntime") else "lexical"


def reranker_names() -> str:
    """The names that `load_reranker` accepts, as a list to read. Those of other packages name the package."""
    return _listed(plugins().values())


def _server(class_name: str, address: str) -> Reranker:
    """The reranker for `URL` or `URL#MODEL`."""
    url, _, model = (part.strip() for part in address.partition("#"))
    if _USER.match(address):  # then the "#" may be part of a password
        url, model = address, ""
    return _exported(class_name)(url, model=model or None)


def _is_hub_id(name: str) -> bool:
    """Whether `name` may be a hub id. A hub id has no colon, and its organisation is none of our prefixes."""
    organisation, slash, _ = name.partition("/")
    return bool(slash) and ":" not in name and organisation not in BUILT_IN


def _advice(name: str, others: Mapping[str, Plugin]) -> str:
    """The error message for an unknown name: what is wrong, and the nearest valid name."""
    shown = without_credentials(name) if "://" in name else name.partition("?")[0]
    nearest = _nearest(shown, others)
    meant = f" (did you mean {nearest!r}?)" if nearest else ""
    if nearest and ":" not in name and "/" in name:
        meant = f" (did you mean {nearest!r}? a model of that name on the hub is CrossEncoderReranker({shown!r}))"
    return f"no reranker is called {shown!r}{meant}; use one of: {_listed(others.values())}"


def _listed(others: Iterable[Plugin]) -> str:
    return ", ".join(
        [
            *(EMBEDDED, *WITHOUT_MODEL),
            *(f"{kind}:MODEL" for kind in WITH_MODEL),
            *(f"{kind}:URL[#MODEL]" for kind in WITH_URL),
            "the URL of another rerank server, such as http://localhost:8080[#MODEL]",
            *(f"{plugin.name}[:MODEL] (from {plugin.packages})" for plugin in others),
            "a hub id such as cross-encoder/ms-marco-MiniLM-L-6-v2, or a folder",
        ]
    )


def _nearest(name: str, others: Iterable[str]) -> str | None:
    head, rest = [*re.split("[:/]", name, maxsplit=1), ""][:2]
    for kind in get_close_matches(head.lower().replace("_", "-"), [*BUILT_IN, *others], n=1):
        takes = _EXAMPLES.get(kind, "") if kind in BUILT_IN else rest
        return f"{kind}:{rest or takes}" if takes else kind
    return None


def _exported(class_name: str) -> Callable[..., Reranker]:
    return cast("Callable[..., Reranker]", exported(class_name))
