"""Rerankers from short names and from plain data, and back to data.

`load_reranker` reads a name such as `"cohere:rerank-v3.5"`, for command lines and adapters. `to_config` and
`from_config` write and read a reranker with all its options, for files, databases and the frameworks' own formats.
"""

from __future__ import annotations

import dataclasses
import inspect
import os
import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from importlib.util import find_spec
from typing import cast

from ksdk_rerank._exports import HOMES, exported
from ksdk_rerank.base import Reranker
from ksdk_rerank.models import EMBEDDED
from ksdk_rerank.timeout import Timeout

__all__ = ["default_name", "from_config", "load_reranker", "to_config"]

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
        return from_config(name)
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


def to_config(reranker: Reranker) -> dict[str, object]:
    """`reranker` as data that JSON, YAML and TOML can hold: its class, and the arguments it was made with.

        {"class": "Cascade", "parameters": {"first": {"class": "LexicalReranker", ...}, "second": ..., "keep": 20}}

    Rerankers within rerankers are written alike. Keys, tokens, weights and connections are not written.

    Raises:
        TypeError: it has, or is made of, what has no written form: a class that is not this library's, or an object of
            yours such as a `client_factory` or a `store`.
    """
    return _written_object(reranker)


def from_config(config: Mapping[str, object]) -> Reranker:
    """The reranker that `to_config` wrote; `"parameters"` may leave out what has a default.

    A key comes from the environment, as where none is passed. Only classes of this library are made, and only by name.
    A configuration can still say which server gets a key and whether a model's own code may run: load none that comes
    from people you do not trust.

    Raises:
        ValueError: it is not such a configuration, or names no reranker of this library, or an argument does not fit.
        TypeError: the class has no such parameter, or an argument is of the wrong type.
        MissingKey, MissingExtra: as the class raises them.
    """
    made = _read(config)
    if not isinstance(made, Reranker):
        raise ValueError(f'a reranker\'s configuration is {{"class": NAME, "parameters": {{...}}}}, got {config!r:.80}')
    return made


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
    return cast("Callable[..., Reranker]", exported(class_name))


def _class(name: object) -> type | None:
    """The class of that name, if it may be written and made: a reranker that the package exports, or `Timeout`."""
    if not isinstance(name, str) or name not in HOMES:
        return None
    value = exported(name)
    if not inspect.isclass(value) or inspect.isabstract(value) or not issubclass(value, (Reranker, Timeout)):
        return None
    return value


def _written_object(value: Reranker | Timeout) -> dict[str, object]:
    kind = type(value)
    if _class(kind.__name__) is not kind:
        raise TypeError(
            f"{kind.__name__} is not a class of ksdk_rerank, so it has no written form; keep what is needed to build it"
            " in a form of your own, and pass the reranker itself"
        )
    parameters = value.parameters() if isinstance(value, Reranker) else dataclasses.asdict(value)
    written = {name: _written(item, f"{kind.__name__}.{name}") for name, item in parameters.items()}
    return {"class": kind.__name__, "parameters": written}


def _written(value: object, where: str) -> object:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (Reranker, Timeout)):
        return _written_object(value)
    if isinstance(value, (list, tuple)):
        return [_written(item, where) for item in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(
        f"{where} is a {type(value).__name__}, which has no written form; write the reranker without it, and add it"
        " where the reranker is built"
    )


def _read(value: object) -> object:
    if isinstance(value, Mapping):
        name, parameters = value.get("class"), value.get("parameters", {})
        made = _class(name)
        if made is None:
            known = ", ".join(filter(_class, HOMES))
            raise ValueError(f"no class {name!r} to make a reranker of; use one of: {known}")
        if set(value) - {"class", "parameters"} or not isinstance(parameters, Mapping):
            raise ValueError(f'the configuration of {name} is {{"class": {name!r}, "parameters": {{...}}}}')
        return made(**{str(key): _read(item) for key, item in parameters.items()})
    if isinstance(value, (list, tuple)):
        return [_read(item) for item in value]
    return value
