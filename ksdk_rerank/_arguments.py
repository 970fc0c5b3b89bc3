"""Checks numbers and texts that are passed as arguments.

Numbers from numpy and similar libraries become Python's own; strings and booleans are rejected.
"""

from __future__ import annotations

import math
import operator
from decimal import Decimal
from numbers import Real

__all__ = ["WrongType", "integer", "number", "plain", "text"]


class WrongType(TypeError, ValueError):
    """An argument has the wrong type. Also a `ValueError`, the only error that pydantic and command lines report."""


def integer(
    name: str, value: object, *, at_least: int = 1, unit: str = "", or_none: bool = False, advice: str = ""
) -> int:
    """Check `value` and return it as an `int`. Accepts anything with `__index__`, such as numpy's integers.

    Args:
        name: the argument's name in the message.
        value: the value that was passed.
        at_least: the smallest number allowed.
        unit: what is counted, such as `"token"`.
        or_none: whether the message offers None. The caller handles None itself; it is rejected here.
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


def text(name: str, value: object) -> str:
    """Check that `value` is a text with more than white space in it, and return it unchanged.

    Raises:
        WrongType: `value` is not a string.
        ValueError: `value` is blank.
    """
    if not isinstance(value, str):
        raise WrongType(f"{name} must be a string or None, got {_shown(value)}")
    if not value.strip():
        raise ValueError(f"{name} is blank; write what you mean, or pass None")
    return value


def plain(value: object) -> object:
    """`value`, unwrapped if it is a scalar of numpy, torch or another array library."""
    item = getattr(value, "item", None)
    return item() if callable(item) and getattr(value, "shape", None) == () else value


def _shown(value: object) -> str:
    return f"{value!r:.80} ({type(value).__name__})"
