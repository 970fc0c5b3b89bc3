"""Builds rerankers from short names and from configurations, and writes those configurations.

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

# Class names as the package exports them. Each class is imported when it is first needed.
_ALONE = {"lexical": "LexicalReranker", "input-order": "InputOrder"}
_WITH_MODEL = {"cohere": "CohereReranker", "jina": "JinaReranker"}
_WITH_URL = {"tei": "TEIReranker", "vllm": "VLLMReranker", "infinity": "InfinityReranker"}

_EXAMPLES = {**dict.fromkeys(_WITH_MODEL, "MODEL"), **dict.fromkeys(_WITH_URL, "URL")}

_RETIRED = (("Fusion", "method", "rrf"),)
"""Arguments that no longer exist and the value that changes nothing: older configurations still contain them."""

_PATH = re.compile(r"(\.{0,2}|~[^/\\]*|[A-Za-z]:)[/\\]|[^:]*\\")
"""How a folder's name begins, unlike a hub id: `/`, `./`, `~/`, `C:\\`. Any path with backslashes counts, too."""

_URL = re.compile("https?://", re.IGNORECASE)
_SECRETS = re.compile(r"(?<=://)[^/@\s]*(?=@)|(?<=\?).*")

_NAMES = (
    "embedded, lexical, input-order, cohere:MODEL, jina:MODEL, tei:URL, vllm:URL#MODEL, infinity:URL#MODEL, a hub id"
    " such as cross-encoder/ms-marco-MiniLM-L-6-v2, or a folder"
)


def load_reranker(name: str | Reranker | Mapping[str, object]) -> Reranker:
    """Build the reranker that `name` stands for. A `Reranker` is returned unchanged.

    Args:
        name: a `Reranker`, a configuration (see `from_config`), or one of these names:

            - `"embedded"`: the English cross-encoder that comes with the package
            - `"lexical"`, `"input-order"`
            - `"cohere:rerank-v3.5"`, `"jina:jina-reranker-v2-base-multilingual"`: the key comes from the environment
            - `"tei:http://localhost:8080"`, `"vllm:http://localhost:8000"`, `"infinity:http://localhost:7997"`: no key.
              If the server has several models, add the model's name after the URL:
              `"vllm:http://localhost:8000#BAAI/bge-reranker-v2-m3"`
            - a local cross-encoder: a hub id such as `"cross-encoder/ms-marco-MiniLM-L-6-v2"`, or a folder

            Names are case-sensitive: `"Cohere/x"` is a hub id, `"cohere/x"` is refused as a misspelling of
            `"cohere:x"`. `CrossEncoderReranker` accepts any hub id. For other options, use the class or a
            configuration.

    Raises:
        ValueError: no reranker has that name, or the URL is malformed. The message lists the names.
        TypeError: `name` is neither a string, a mapping nor a `Reranker`.
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
    """The commands' default: the embedded model, or BM25 if the packages that run it are not installed."""
    return EMBEDDED if find_spec("tokenizers") and find_spec("onnxruntime") else "lexical"


def to_config(reranker: Reranker) -> dict[str, object]:
    """`reranker` as plain data for JSON, YAML and TOML: its class and its constructor arguments.

        {"class": "Cascade", "parameters": {"first": {"class": "LexicalReranker", ...}, "second": ..., "keep": 20}}

    Nested rerankers are written the same way. Keys, tokens, model weights and connections are left out.

    Raises:
        TypeError: it contains something that cannot be written: a class from outside this library, or an object of
            yours such as a `client_factory` or a `store`.
    """
    return _written_object(reranker)


def from_config(config: Mapping[str, object]) -> Reranker:
    """Rebuild the reranker that `to_config` wrote. `"parameters"` may omit arguments that have defaults.

    Keys come from the environment, as they do when none is passed. Only this library's classes are built, and only by
    name. But a configuration can still decide which server receives a key and whether a model's own code may run: load
    only configurations from people you trust.

    Raises:
        ValueError: the data is not a configuration, names no reranker of this library, or has an invalid argument.
        TypeError: the class has no such parameter, or an argument has the wrong type.
        MissingKey, MissingExtra: as the class raises them.
    """
    made = _read(config)
    if not isinstance(made, Reranker):
        raise ValueError(f'a reranker\'s configuration is {{"class": NAME, "parameters": {{...}}}}, got {config!r:.80}')
    return made


def _is_hub_id(name: str) -> bool:
    """Whether `name` may be a hub id. A hub id has no colon, and its organisation is none of our prefixes."""
    organisation, slash, _ = name.partition("/")
    return bool(slash) and ":" not in name and organisation not in {EMBEDDED, *_ALONE, *_EXAMPLES}


def _advice(name: str) -> str:
    """The error message for an unknown name: what is wrong, and the nearest valid name."""
    shown = _SECRETS.sub("***", name)
    nearest = _nearest(shown)
    meant = f" (did you mean {nearest!r}?)" if nearest else ""
    if nearest and ":" not in name and "/" in name:
        meant = f" (did you mean {nearest!r}? a model of that name on the hub is CrossEncoderReranker({shown!r}))"
    return f"no reranker is called {shown!r}{meant}; use one of: {_NAMES}"


def _nearest(name: str) -> str | None:
    if _URL.match(name):
        return f"tei:{name}"  # or vllm:, or infinity:, as the message lists
    head, rest = [*re.split("[:/]", name, maxsplit=1), ""][:2]
    close = get_close_matches(head.lower().replace("_", "-"), [EMBEDDED, *_ALONE, *_EXAMPLES], n=1)
    return next((f"{kind}:{rest or _EXAMPLES[kind]}" if kind in _EXAMPLES else kind for kind in close), None)


def _exported(class_name: str) -> Callable[..., Reranker]:
    return cast("Callable[..., Reranker]", exported(class_name))


def _class(name: object) -> type | None:
    """The class called `name` if a configuration may contain it (an exported reranker, or `Timeout`), else None."""
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
        current = {str(key): item for key, item in parameters.items() if (name, key, item) not in _RETIRED}
        return made(**{key: _read(item) for key, item in current.items()})
    if isinstance(value, (list, tuple)):
        return [_read(item) for item in value]
    return value
