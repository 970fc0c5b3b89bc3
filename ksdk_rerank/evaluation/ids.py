"""Normalizes ids and grades of any type, so that they can be compared."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, TypeVar

__all__ = ["by_id", "grade_of", "id_of"]

T = TypeVar("T")


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


def grade_of(value: Any) -> int:
    """Convert a whole number of any type, or its text, to an integer grade. `ValueError` states what it must be."""
    problem = "must be an integer"
    try:
        if isinstance(value, str):
            value = Decimal(value) if value.isascii() and "_" not in value else None
        if -(2**31) <= value < 2**31:  # before `int`, which writes out Decimal("1e999999")
            if (whole := int(value)) == value:
                return whole
        elif value - value == 0:  # neither infinite nor NaN
            problem = "must fit in 32 bits"
    except (TypeError, ValueError, ArithmeticError):  # not a number
        pass
    raise ValueError(problem)
