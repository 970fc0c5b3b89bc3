"""`to_config` and `from_config`: a reranker as plain data, for files, databases and the frameworks' own formats."""

from __future__ import annotations

import dataclasses
import inspect
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TypeGuard

from ksdk_rerank._arguments import WrongType
from ksdk_rerank._exports import MODULES, exported
from ksdk_rerank.base import Reranker
from ksdk_rerank.errors import PluginError
from ksdk_rerank.loading.registry import plugins
from ksdk_rerank.timeout import Timeout

__all__ = ["from_config", "to_config"]

_NOT_DATA = ("Cached.store",)
"""Arguments whose value is an object of the user's even if it is a mapping."""


def to_config(reranker: Reranker) -> dict[str, object]:
    """`reranker` as plain data for JSON or YAML: its class and its constructor arguments.

        {"class": "Cascade", "parameters": {"first": {"class": "LexicalReranker", ...}, "second": ..., "keep": 20}}

    Nested rerankers are written the same way. A class from another package is written as the name under which that
    package registers it, such as `{"class": "acme", ...}`. Keys, tokens, model weights and connections are left out.

    Raises:
        TypeError: it contains something that cannot be written: a class that no package registers, or an object of
            yours such as a `client_factory` or a `store`.
    """
    return _written_object(reranker)


def from_config(config: Mapping[str, object]) -> Reranker:
    """Rebuild the reranker that `to_config` wrote. `"parameters"` may omit arguments that have defaults.

    Keys come from the environment, as they do when none is passed. Only this library's classes are built and those that
    installed packages register, and only by name: a configuration cannot import anything else. But it can still decide
    which server receives a key and whether a model's own code may run: load only configurations from people you trust.

    Raises:
        ValueError: the data is not a configuration, names no known class, or has an invalid argument.
        TypeError: the class has no such parameter, or an argument has the wrong type. It is a `ValueError` as well.
        MissingKey, MissingExtra: as the class raises them.
        PluginError: another package registers the class, but it cannot be loaded; or two packages do.
    """
    made = _read_object(config)
    if not isinstance(made, Reranker):
        raise ValueError(
            f'a reranker\'s configuration must look like {{"class": NAME, "parameters": {{...}}}}, got {config!r:.80}'
        )
    return made


def _class(name: object) -> type | None:
    """The class called `name` if a configuration may contain it (an exported reranker, or `Timeout`), else None."""
    if not isinstance(name, str) or name not in MODULES:
        return None
    value = exported(name)
    if not inspect.isclass(value) or inspect.isabstract(value) or not issubclass(value, (Reranker, Timeout)):
        return None
    return value


def _name_of(kind: type) -> str:
    """The name that a configuration has for a class. Raises `TypeError` if there is none."""
    if _class(kind.__name__) is kind:
        return kind.__name__
    package = kind.__module__.partition(".")[0]  # its own package first: the others need not be imported
    for plugin in sorted(plugins().values(), key=lambda plugin: not plugin.entries[0].value.startswith(package)):
        with suppress(PluginError):
            if plugin.load() is kind:
                return plugin.name
    raise TypeError(
        f"{kind.__name__} is neither a class of ksdk_rerank nor registered by its package, so a configuration cannot"
        " name it; pass the reranker itself, or, if the class is yours, register it as an entry point (see"
        " CONTRIBUTING.md)"
    )


def _written_object(value: Reranker | Timeout) -> dict[str, object]:
    kind, name = type(value), _name_of(type(value))
    parameters = value.parameters() if isinstance(value, Reranker) else dataclasses.asdict(value)
    written = {key: _written(item, f"{kind.__name__}.{key}") for key, item in parameters.items()}
    return {"class": name, "parameters": written}


def _written(value: object, where: str) -> object:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (Reranker, Timeout)):
        return _written_object(value)
    if isinstance(value, (list, tuple)):
        return [_written(item, where) for item in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if where not in _NOT_DATA and _is_plain(value):
        return {name: _written(item, where) for name, item in value.items()}
    raise TypeError(
        f"{where} is a {type(value).__name__}, which a configuration cannot contain; leave it out, and add it where the"
        " reranker is created"
    )


def _is_plain(value: object) -> TypeGuard[Mapping[str, object]]:
    """Whether `value` is a mapping that `_read` can tell from a reranker's configuration."""
    return isinstance(value, Mapping) and "class" not in value and all(isinstance(name, str) for name in value)


def _read_object(value: Mapping[str, object]) -> object:
    name, parameters = value.get("class"), value.get("parameters", {})
    make: Callable[..., object] | None = _class(name)
    if make is None:
        others = plugins()
        if not isinstance(name, str) or name not in others:
            known = ", ".join([*filter(_class, MODULES), *others])
            raise ValueError(f"no reranker class is called {name!r}; use one of: {known}")
        make = others[name].build
    if set(value) - {"class", "parameters"} or not isinstance(parameters, Mapping):
        raise ValueError(f'the configuration of {name} must look like {{"class": {name!r}, "parameters": {{...}}}}')
    try:
        return make(**{str(key): _read(item) for key, item in parameters.items()})
    except TypeError as error:
        raise WrongType(str(error)) from error


def _read(value: object) -> object:
    if _is_plain(value):
        return {name: _read(item) for name, item in value.items()}
    if isinstance(value, Mapping):
        return _read_object(value)
    if isinstance(value, (list, tuple)):
        return [_read(item) for item in value]
    return value
