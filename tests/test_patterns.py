"""Regular expressions read other people's text, so none may take more than linear time."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import time
from collections.abc import Iterator

import pytest

import ksdk_rerank

LENGTH = 10_000
PIECES = [
    *("x", "a1", "0", " ", "\t", "\n", "\n ", "\r\n", "#", "# ", "-", "--- ", "---\n", ".", ". ", '."', "`", "~", "`~"),
    *("/v1", "/", "a/", ":", "a.", "+.-", "東", "。", "。」", "e\u0301", "\u0301", "\ud83d", "\u00ad", "\uff9e"),
]


def patterns() -> Iterator[tuple[str, re.Pattern[str], bool]]:
    """Every module-level pattern, and whether its module searches a whole text for it."""
    for module in pkgutil.walk_packages(ksdk_rerank.__path__, "ksdk_rerank."):
        if module.name.endswith("__main__"):
            continue
        try:
            imported = importlib.import_module(module.name)
        except ImportError:  # needs an extra that is not installed
            continue
        for name, value in vars(imported).items():
            if isinstance(value, re.Pattern) and isinstance(value.pattern, str):
                at_start = re.search(rf"\b{name}\.(full)?match\(", inspect.getsource(imported)) is not None
                yield f"{module.name}.{name}", value, not at_start


@pytest.mark.parametrize(("name", "pattern", "anywhere"), [pytest.param(*found, id=found[0]) for found in patterns()])
def test_no_pattern_takes_more_than_linear_time(name: str, pattern: re.Pattern[str], anywhere: bool) -> None:
    started = time.process_time()
    for piece in PIECES:
        for text in (piece * (LENGTH // len(piece)), "# a" + piece * (LENGTH // len(piece)) + "\x00"):
            pattern.match(text)
            for _ in pattern.finditer(text) if anywhere else ():
                pass
    assert time.process_time() - started < 5, name  # quadratic time would be far more
