"""Checks arguments that several parts of the library share: numbers, flags, lists, texts and queries.

Numbers and booleans from numpy and similar libraries become Python's own; strings are not converted to either, nor
booleans to numbers.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Mapping
from decimal import Decimal
from numbers import Real
from typing import TypeVar

__all__ = [
    "WrongType",
    "check_query",
    "finite",
    "flag",
    "function_or_none",
    "integer",
    "integer_or_none",
    "number",
    "ordered",
    "plain",
    "text",
    "text_or_none",
]

T = TypeVar("T")


class WrongType(TypeError, ValueError):
    """An argument has the wrong type. Also a `ValueError`, the only error that pydantic and command lines report."""


def check_query(query: object) -> None:
    """Raise `TypeError` unless `query` is a string, and `ValueError` if it is blank."""
    if not isinstance(query, str):
        raise TypeError(f"query must be a string, got {type(query).__name__}")
    if not query.strip():
        raise ValueError(f"query must not be blank, got {query!r}; pass a question or keywords")


def integer(
    name: str, value: object, *, at_least: int = 1, unit: str = "", or_none: bool = False, advice: str = ""
) -> int:
    """Check `value` and return it as an `int`. Accepts anything with `__index__`, such as numpy's integers.

    Args:
        name: the argument's name in the message.
        value: the value that was passed.
        at_least: the smallest number allowed.
        unit: what is counted, such as `"token"`.
        or_none: whether the message offers None, which `integer_or_none` handles.
        advice: ends the message.

    Raises:
        WrongType: `value` is not an integer; floats, booleans and strings are not converted.
        ValueError: `value` is less than `at_least`.
    """
    smallest, end = f"{at_least} {unit}".rstrip(), f"; {advice}" if advice else ""
    try:
        if isinstance(plain(value), bool):
            raise TypeError
        checked = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        wanted = f"an integer of at least {smallest}{' or None' if or_none else ''}"
        raise WrongType(f"{name} must be {wanted}, got {_shown(value)}{end}") from None
    if checked < at_least:
        raise ValueError(f"{name} must be at least {smallest}, got {checked}{end}")
    return checked


def integer_or_none(name: str, value: object, *, at_least: int = 1, unit: str = "", advice: str = "") -> int | None:
    """Like `integer`, but None is allowed and returned."""
    return None if value is None else integer(name, value, at_least=at_least, unit=unit, or_none=True, advice=advice)


def number(name: str, value: object) -> float:
    """Check `value` and return it as a `float`, or as an `int` if it is one.

    NaN and the infinities pass: callers check the range.

    Raises:
        WrongType: `value` is not a number; booleans and strings are not converted.
    """
    real = plain(value)
    if isinstance(real, bool) or not isinstance(real, (Real, Decimal)):
        raise WrongType(f"{name} must be a number, got {_shown(value)}")
    try:
        converted = float(real)
    except OverflowError:  # an integer beyond the range of floats
        return math.inf if real > 0 else -math.inf  # type: ignore[operator]
    except ValueError:  # a signalling NaN from `decimal`
        return math.nan
    return int(real) if isinstance(real, int) else converted


def flag(name: str, value: object) -> bool:
    """Check `value` and return it as a `bool`.

    Raises:
        WrongType: `value` is not a boolean. Nothing is converted: as text from a configuration, "false" would be true.
    """
    checked = plain(value)
    if not isinstance(checked, bool):
        raise WrongType(f"{name} must be True or False, got {_shown(value)}")
    return checked


def function_or_none(name: str, value: T, *, returns: str = "") -> T:
    """Check that `value` can be called or is None, and return it. `returns` is what the message says that it returns.

    Raises:
        WrongType: it is something else.
    """
    if value is None or callable(value):
        return value
    what = f" that returns {returns}" if returns else ""
    raise WrongType(f"{name} must be a function{what}, or None, got {_shown(value)}")


def ordered(name: str, value: Iterable[T]) -> list[T]:
    """`value` as a list. Callers check the items.

    Raises:
        WrongType: `value` is a set, which has no order, or a mapping, of which only the keys would be read.
    """
    if isinstance(value, (set, frozenset)):
        raise WrongType(f"{name} must be a list, got a {type(value).__name__}, which has no order; pass a list")
    if isinstance(value, Mapping):
        kind = type(value).__name__
        raise WrongType(f"{name} must be a list, got a {kind}; pass its keys, values or items as a list")
    return list(value)


def text(name: str, value: object) -> str:
    """Check that `value` is a text with more than white space in it, and return it unchanged.

    Raises:
        WrongType: `value` is not a string.
        ValueError: `value` is blank.
    """
    return _checked_text(name, value)


def text_or_none(name: str, value: object) -> str | None:
    """Like `text`, but None is allowed and returned."""
    return None if value is None else _checked_text(name, value, or_none=True)


def _checked_text(name: str, value: object, *, or_none: bool = False) -> str:
    if not isinstance(value, str):
        raise WrongType(f"{name} must be a string{' or None' if or_none else ''}, got {_shown(value)}")
    if not value.strip():
        raise ValueError(f"{name} is blank; pass a text{', or None' if or_none else ''}")
    return value


def finite(value: object) -> float | None:
    """`value` as a finite float, or None if it is no number. Accepts text, as some services and stores send numbers."""
    real = plain(value)
    if isinstance(real, bool) or not isinstance(real, (Real, Decimal, str)):
        return None
    try:
        converted = float(real)
    except (ValueError, OverflowError):
        return None
    return converted if math.isfinite(converted) else None


def plain(value: object) -> object:
    """`value`, unwrapped if it is a scalar of numpy, torch or another array library."""
    item = getattr(value, "item", None)
    return item() if callable(item) and getattr(value, "shape", None) == () else value


def _shown(value: object) -> str:
    return f"{value!r:.80} ({type(value).__name__})"
