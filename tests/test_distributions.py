"""The distributions that carry the frameworks' names, and what tells people how to cite, name this version."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

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


@pytest.mark.parametrize("folder", [".", "distributions/langchain", "distributions/llamaindex"])
def test_a_release_links_to_its_repository_and_any_other_build_to_none(folder: str) -> None:
    def metadata(**environment: str) -> Any:
        rest = {name: value for name, value in os.environ.items() if name != "KSDK_REPOSITORY_URL"}
        command = [sys.executable, "-m", "hatchling", "metadata"]
        done = subprocess.run(command, cwd=ROOT / folder, env=rest | environment, stdout=subprocess.PIPE, check=True)
        return json.loads(done.stdout)

    plain, released = metadata(), metadata(KSDK_REPOSITORY_URL="https://forge.example/owner/name")
    assert "urls" not in plain
    assert plain["readme"]["text"] == (ROOT / folder / "README.md").read_text(encoding="utf-8")
    assert released["urls"]["Source"] == "https://forge.example/owner/name"
    assert not re.search(r"\]\((?!https://)", released["readme"]["text"])
    if folder == ".":
        raw, page = (f"https://forge.example/owner/name/{kind}/v{__version__}" for kind in ("raw", "blob"))
        assert f"]({raw}/docs/pictures/gain-per-collection.svg)" in released["readme"]["text"]
        assert f"]({page}/docs/choosing.md#other-services-and-servers)" in released["readme"]["text"]


def test_the_citation_is_of_this_version() -> None:
    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
