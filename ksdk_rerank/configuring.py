"""`to_config` and `from_config`: a reranker as plain data, for files, databases and the frameworks' own formats."""

from __future__ import annotations

import dataclasses
import inspect
import os
from collections.abc import Mapping

import ksdk_rerank
from ksdk_rerank.base import Reranker
from ksdk_rerank.timeout import Timeout

__all__ = ["from_config", "to_config"]


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


def _class(name: object) -> type | None:
    """The class of that name, if it may be written and made: a reranker that the package exports, or `Timeout`."""
    if not isinstance(name, str) or name not in ksdk_rerank.__all__:
        return None
    value = getattr(ksdk_rerank, name)
    allowed = inspect.isclass(value) and issubclass(value, (Reranker, Timeout)) and not inspect.isabstract(value)
    return value if allowed else None


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
            known = ", ".join(filter(_class, ksdk_rerank.__all__))
            raise ValueError(f"no class {name!r} to make a reranker of; use one of: {known}")
        if set(value) - {"class", "parameters"} or not isinstance(parameters, Mapping):
            raise ValueError(f'the configuration of {name} is {{"class": {name!r}, "parameters": {{...}}}}')
        return made(**{str(key): _read(item) for key, item in parameters.items()})
    if isinstance(value, (list, tuple)):
        return [_read(item) for item in value]
    return value
