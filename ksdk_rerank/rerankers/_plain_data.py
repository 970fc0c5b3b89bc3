"""Arguments that are plain data: configurations contain them, so secrets are refused."""

from __future__ import annotations

import json
from collections.abc import Mapping

from ksdk_rerank._transport.urls import names_a_secret

__all__ = ["plain_data", "plain_texts"]


def plain_data(argument: str, given: Mapping[str, object] | None) -> dict[str, object] | None:
    """A copy of `given`, which must be data for JSON. A name such as `api_key` is refused, one of an id is not."""
    if given is None:
        return None
    if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given):
        raise TypeError(f"{argument} must be a mapping with strings as keys, got {type(given).__name__}")
    for name, value in given.items():
        if isinstance(value, str) and names_a_secret(name) and not name.endswith("_id"):
            raise _secret(argument, name)
    try:
        copy: dict[str, object] = json.loads(json.dumps(dict(given), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise TypeError(f"{argument} must be plain data for JSON ({error})") from None
    return copy


def plain_texts(argument: str, given: Mapping[str, str] | None) -> dict[str, str] | None:
    """Like `plain_data`, for values that must be printable ASCII and must not look like a secret either."""
    if (checked := plain_data(argument, given)) is None:
        return None
    texts: dict[str, str] = {}
    for name, value in checked.items():
        if not isinstance(value, str) or not (name + value).isascii() or not (name + value).isprintable():
            raise TypeError(f"{argument}[{name!r}] must be printable ASCII text, got {type(value).__name__}")
        if names_a_secret(name, value):
            raise _secret(argument, name)
        texts[name] = value
    return texts


def _secret(argument: str, name: str) -> ValueError:
    return ValueError(
        f"{argument}[{name!r}] looks like a secret; pass a key as api_key=..., and let a client_factory add other"
        " secrets"
    )
