"""Normalizes ids and grades of any type, so that they can be compared."""

from __future__ import annotations

import operator
import unicodedata
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import TypeVar

__all__ = ["by_id", "grade_of", "id_of"]

T = TypeVar("T")

_LARGEST_GRADE = 2**31 - 1


def id_of(value: object) -> str:
    """An id as text in Unicode's composed form (NFC): 7 becomes "7", and file names from macOS match others.

    Whole floats lose their ".0", because tables with missing values turn integers into floats.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return unicodedata.normalize("NFC", str(value))


def by_id(given: Mapping[object, T] | Mapping[str, T], what: str) -> dict[str, T]:
    """`given` with its ids as text. `ValueError` if two keys become the same id with different values."""
    found: dict[str, T] = {}
    for key, value in given.items():
        id = id_of(key)
        if id in found and found[id] != value:
            raise ValueError(f"{what}: the id {id!r} appears twice, as text and as another type; keep one")
        found[id] = value
    return found


def grade_of(value: object) -> int:
    """Convert a whole number of any type, or its text, to an integer grade. `ValueError` states what it must be."""
    try:
        if isinstance(value, str):
            if not value.isascii() or "_" in value:
                raise ValueError
            value = Decimal(value)
        if not -_LARGEST_GRADE - 1 <= value <= _LARGEST_GRADE:  # type: ignore[operator]  # before int() sees a huge number
            if value == value and abs(value) != float("inf"):  # type: ignore[arg-type]
                raise OverflowError
            raise ValueError
        whole = _whole(value)
    except OverflowError:
        raise ValueError("must fit in 32 bits") from None
    except (TypeError, ValueError, ArithmeticError, InvalidOperation):
        raise ValueError("must be an integer") from None
    return whole


def _whole(value: object) -> int:
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        whole = int(value)  # type: ignore[call-overload]
        if whole != value:
            raise ValueError from None
        return int(whole)
