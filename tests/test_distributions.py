"""The distributions that carry the frameworks' names, and what tells people how to cite, name this version."""

import tomllib
from pathlib import Path

import pytest

from ksdk_rerank import __version__

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("framework", ["langchain", "llamaindex"])
def test_a_frameworks_distribution_installs_this_version_with_its_extra(framework: str) -> None:
    project = tomllib.loads((ROOT / "distributions" / framework / "pyproject.toml").read_text())["project"]
    assert project["version"] == __version__
    assert project["dependencies"] == [f"ksdk-rerank[{framework},local]=={__version__}"]
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {framework, "local"} <= set(extras)


def test_the_citation_is_of_this_version() -> None:
    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
