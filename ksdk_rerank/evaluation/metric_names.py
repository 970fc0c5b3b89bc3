"""Parses metric names and rejects unsafe parameters.

trec_eval's C code aborts the process on a failed assertion (a cutoff of 0) or allocates unbounded memory (a level of
2**31). So only parameters in a range that is known to work reach it.
"""

from __future__ import annotations

import difflib
import math
import re
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

__all__ = ["parsed"]

_LONGEST_NAME = 200  # characters; Python's own parser may fail on deep nesting
_LARGEST = 1_000_000

_Check = tuple[Callable[[Any], bool], str]
_COUNT: _Check = (lambda value: _is_integer(value) and 1 <= value <= _LARGEST, f"a whole number from 1 to {_LARGEST:,}")
_LEVEL: _Check = (lambda value: _is_integer(value) and 0 <= value <= _LARGEST, f"a whole number from 0 to {_LARGEST:,}")
_SHARE: _Check = (lambda value: _is_number(value) and 0 <= value <= 1, "a number from 0 to 1")
_AMOUNT: _Check = (lambda value: _is_number(value) and 0 < value <= _LARGEST, f"a number above 0, at most {_LARGEST:,}")
_FLAG: _Check = (lambda value: isinstance(value, bool), "True or False")
_GAINS: _Check = (
    lambda value: isinstance(value, dict) and all(_LEVEL[0](each) for pair in value.items() for each in pair),
    f"whole numbers from 0 to {_LARGEST:,}, such as {{1: 1, 2: 3}}",
)

_PARAMETERS = {
    "cutoff": _COUNT,
    "rel": _COUNT,
    "judged_only": _FLAG,
    "relative": _FLAG,
    "normalize": _FLAG,
    "min_rel": _LEVEL,
    "max_rel": _COUNT,
    "recall": _SHARE,
    "p": _SHARE,
    "alpha": _SHARE,
    "beta": _AMOUNT,
    "T": _AMOUNT,
    "gains": _GAINS,
    "dcg": (lambda value: value in ("log2", "exp-log2"), "'log2' or 'exp-log2'"),
}
"""Allowed values for each parameter of ir-measures (https://ir-measur.es/en/latest/measures.html, read 2026-11-26)."""

_EXAMPLES: dict[str | None, dict[str, float]] = {"cutoff": {"cutoff": 10}, "recall": {"recall": 0.5}}


def parsed(name: str, ir_measures: Any) -> Any:
    """Parse a metric name into an `ir-measures` object with safe parameters; `ValueError` states what is wrong."""
    if not isinstance(name, str):
        raise TypeError(f"metrics must be names, got {name!r:.80}; write {str(name)[:80]!r}")
    if len(name) > _LONGEST_NAME:
        raise ValueError(f"unknown metric {name[:40]!r}...; use a name from https://ir-measur.es, such as nDCG@10")
    try:
        if not name.isprintable():
            raise ValueError("control characters")
        with warnings.catch_warnings():
            # Its parser (0.4.3, util.py) names classes of `ast` that are deprecated since Python 3.12.
            warnings.simplefilter("ignore", DeprecationWarning)
            measure = ir_measures.parse_measure(name)
    except Exception as error:  # Python's parser and theirs raise all sorts of errors for an invalid name
        raise ValueError(f"unknown metric {name!r}; {_advice(name, ir_measures)}") from error
    for parameter, value in measure.params.items():
        if parameter not in measure.SUPPORTED_PARAMS or parameter not in _PARAMETERS:
            known = ", ".join(measure.SUPPORTED_PARAMS) or "none"
            raise ValueError(f"the metric {name} cannot be used: {measure.NAME} has no {parameter} (it has: {known})")
        fits, what = _PARAMETERS[parameter]
        if not fits(value):
            raise ValueError(
                f"the metric {name} cannot be used: {parameter} must be {what}, got {value!r};"
                f" {_advice(name, ir_measures)}"
            )
    known = measure.SUPPORTED_PARAMS
    measure = measure(**{key: float(value) for key, value in measure.params.items() if known[key].dtype is float})
    if missing := [key for key, info in known.items() if info.required and key not in measure.params]:
        needed = ", ".join(missing)
        raise ValueError(f"the metric {name} needs a value for {needed}; {_advice(name, ir_measures)}")
    if not ir_measures.DefaultPipeline.supports(measure):
        raise ValueError(_unsupported(name, measure, ir_measures))
    return measure


def _unsupported(name: str, measure: Any, ir_measures: Any) -> str:
    """An error message: why no installed package can compute `measure`."""
    packages = [each.install_instructions() for each in ir_measures.DefaultPipeline.providers if each.supports(measure)]
    installing = f"it needs another package: {packages[0]}, or " if packages and packages[0] else ""
    return f"the metric {name} cannot be computed here; {installing}{_advice(name, ir_measures)}"


def _advice(name: str, ir_measures: Any) -> str:
    """Advice for an error message: the most similar names that are usable."""
    base = re.split(r"[@(._\s]", name.strip())[0].casefold()[:40]
    usable = _usable(ir_measures)
    names = [usable[each] for each in difflib.get_close_matches(base, usable, n=3)]
    return f"use a name from https://ir-measur.es, such as {', '.join(names or ['nDCG@10', 'MRR@10', 'P@1', 'R@5'])}"


@cache
def _usable(ir_measures: Any) -> dict[str, str]:
    """An example of each metric that can be computed here, by its name in lower case."""
    usable: dict[str, str] = {}
    for known, measure in ir_measures.measures.registry.items():
        needed = {key: info for key, info in measure.SUPPORTED_PARAMS.items() if info.required}
        at = measure.AT_PARAM if measure.AT_PARAM in measure.SUPPORTED_PARAMS else None
        if not needed.keys() - {at} and ir_measures.DefaultPipeline.supports(measure(**_EXAMPLES.get(at, {}))):
            usable.setdefault(known.casefold(), f"{known}@{next(iter(_EXAMPLES[at].values()))}" if at else known)
    return usable


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
