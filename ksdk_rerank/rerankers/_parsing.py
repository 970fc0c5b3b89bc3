"""Parses a rerank API's reply: results that refer to documents by index, and usage."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Sequence
from typing import Any

__all__ = ["ListCut", "field_at", "has_results", "scores_by_index", "spans_by_index", "usage_of"]

_LONGEST_QUOTED = 7  # characters; a secret is longer


class ListCut(ValueError):
    """There are fewer results than documents, but all of them are valid; `results` is their number."""

    def __init__(self, message: str, results: int) -> None:
        super().__init__(message)
        self.results = results


def scores_by_index(results: object, count: int, *, field: str = "relevance_score") -> list[float]:
    """The scores of `count` documents in input order, from results in any order.

    Each result is an object with an integer `index` from 0 to `count - 1` and a finite number in `field`. There must
    be exactly one per document, because a score that might belong to another document is worse than an error.

    Raises:
        ListCut: some documents have no result.
        ValueError: the results are otherwise invalid; the message names the first bad one and what is wrong with it.
    """
    if results is None:
        raise ValueError("the reply has no results")
    if not isinstance(results, list):
        raise ValueError(f"its results are {_kind(results)}, not a list")
    scores: dict[int, float] = {}
    for place, result in enumerate(results):
        if not isinstance(result, dict):
            raise ValueError(f"result {place} is {_kind(result)}, not an object")
        index = result.get("index")
        if isinstance(index, bool) or not isinstance(index, int):
            raise ValueError(f"result {place} has the index {_shown(index)}, which is not an integer")
        if not 0 <= index < count:
            raise ValueError(f"result {place} has the index {_shown(index)}, but {count} documents were sent")
        if index in scores:
            raise ValueError(f"two results have the index {index}")
        scores[index] = _finite(result.get(field), f"result {place} has the {field}")
    if len(scores) < count:
        lost = next(index for index in range(count) if index not in scores)
        raise ListCut(
            f"only {len(scores)} of {count} documents have a result (index {lost} has none): the list was cut",
            len(scores),
        )
    return [scores[index] for index in range(count)]


def field_at(data: object, path: Sequence[str]) -> object:
    """The value at `path` in a JSON object, such as `("meta", "billed_units")`; None if there is none."""
    for name in path:
        data = data.get(name) if isinstance(data, dict) else None
    return data


def spans_by_index(results: Sequence[Any], count: int) -> list[tuple[tuple[int, int], ...]]:
    """The `relevant_spans` of each document in input order, best first. Raises `ValueError` if one is malformed."""
    found: list[tuple[tuple[int, int], ...]] = [()] * count
    for result in results:
        own = result.get("relevant_spans") or ()
        try:
            pairs = [(span["start"], span["end"]) for span in own]
        except (TypeError, KeyError) as error:
            raise ValueError(f"the relevant_spans of result {result['index']} are not a list of places") from error
        if not all(type(at) is int for pair in pairs for at in pair):
            raise ValueError(
                f"a relevant span of result {result['index']} has a start or an end that is not an integer"
            )
        found[result["index"]] = tuple(pairs)
    return found


def usage_of(counts: object) -> dict[str, float]:
    """The numeric fields of `counts`; everything else is ignored, because missing usage must not fail a call."""
    if not isinstance(counts, dict):
        return {}
    return {
        str(unit): float(number)
        for unit, number in counts.items()
        if isinstance(number, (int, float)) and not isinstance(number, bool) and abs(number) < 2**53
    }


def has_results(data: object) -> bool:
    """Whether `data` contains at least one result, valid or not, so that it is no error message."""
    lists = data.values() if isinstance(data, dict) else [data]
    items = (item for each in lists if isinstance(each, list) for item in each)
    return any(isinstance(item, dict) and "index" in item for item in items)


def _finite(value: object, subject: str) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isfinite(number):
            return number
    raise ValueError(f"{subject} {_shown(value)}, which is not a finite number")


def _shown(value: object) -> str:
    """`value` for a message. A long string may be a key, and keys are only redacted whole, so none of it is quoted."""
    if isinstance(value, (list, dict)) or (isinstance(value, str) and len(value) > _LONGEST_QUOTED):
        return _kind(value)
    return reprlib.repr(value)


def _kind(value: object) -> str:
    kinds = {type(None): "null", dict: "an object", list: "a list", str: "a string", bool: "a boolean"}
    return kinds.get(type(value), "a number")
