"""What pyproject.toml declares is what `.ci/run` tries."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_lowest_versions_that_are_tried_are_those_declared() -> None:
    extras = PROJECT["optional-dependencies"]
    declared = [*PROJECT["dependencies"], *(extras[name][0] for name in ("langchain", "llamaindex", "cohere"))]
    declared += extras["local"]
    lowest = dict(re.findall(r"^([\w-]+)>=([\d.]+)", requirement)[0] for requirement in declared)
    tried = dict(line.split("==") for line in (ROOT / ".ci" / "lowest.txt").read_text().split())
    for name, version in lowest.items():
        assert f"{tried[name]}.0.0".startswith(f"{version}."), f"{name}: {version} is declared, {tried[name]} is tried"


def test_all_holds_every_extra_that_users_ask_for_by_name() -> None:
    extras = PROJECT["optional-dependencies"]
    held = set(re.findall(r"[\w-]+", re.search(r"\[(.*)\]", extras["all"][0]).group(1)))  # type: ignore[union-attr]
    assert held == set(extras) - {"all", "docs", "test", "lint"}
