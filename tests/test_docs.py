"""The documentation and the examples run, and print what they promise."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import pytest

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINKING = [*PAGES, *sorted((ROOT / "examples").glob("*.ipynb"))]
BLOCK = re.compile(
    r"^ *```python\n(?P<code>.*?)^ *```\n(?:\n```text\n(?P<output>.*?)^```\n)?", re.MULTILINE | re.DOTALL
)
NOT_RUN = re.compile(r"<!-- not run: .+? -->\s*$")
NEEDS = re.compile(r"<!-- needs (?P<packages>.+?) -->\s*$")  # the tests' environment lacks them
REFERENCE = re.compile(r"^::: (\S+)$", re.MULTILINE)
LINK = re.compile(r"\]\((?P<target>[^)#\s]+)[^)]*\)")
NAMELESS_COLUMN = re.compile(r"^ *\|(?:.*\|)? *\|.*\n *\|[ :]*-", re.MULTILINE)
EXAMPLES = {  # and part of what each prints
    "rank_strings.py": "To rotate an API key",
    "langchain_knowledgesdk.py": "Rotate an API key > Procedure\n",
    "langchain_any_retriever.py": "Invoices are sent on the first day of each month.\n",
    "langchain_chain.py": "Run `lf keys rotate`",
    "llamaindex_query_engine.py": "Rotate an API key\n",
    "async_service.py": "12 questions, ",
    "shorter_prompt.py": "… API keys are not tied to a person and go on working",
}
# One process runs all scripts, since importing the frameworks takes far longer than the scripts do.
RUN = r"""
import json, sys

for name, code in json.load(sys.stdin):
    exec(compile(code, name, "exec"), {"__name__": "__main__", "__file__": name})
    print(end="\0", flush=True)
    if dispatcher := sys.modules.get("llama_index.core.instrumentation"):
        dispatcher.get_dispatcher().event_handlers.clear()  # a script's handlers are not for the next one
"""


class Block(NamedTuple):
    """A code block, named after its page and line, and the output printed below it."""

    name: str
    code: str
    output: str | None
    is_run: bool
    needs: tuple[str, ...]


def blocks(page: Path) -> list[Block]:
    """The Python blocks of a page."""
    text = page.read_text(encoding="utf-8")
    found = []
    for block in BLOCK.finditer(text):
        name = f"{page.relative_to(ROOT)}:{text.count(chr(10), 0, block.start()) + 1}"
        above = text[: block.start()]
        needs = tuple(needed["packages"].split(", ")) if (needed := NEEDS.search(above)) else ()
        is_run = NOT_RUN.search(above) is None
        found.append(Block(name, textwrap.dedent(block["code"]), block["output"], is_run, needs))
    return found


def check(found: list[Block], folder: Path = ROOT) -> None:
    """Run the blocks in `folder` and compare what they print with the output below them."""
    outputs = run([(block.name, block.code) for block in found], folder)
    for block, output in zip(found, outputs, strict=True):
        assert block.output in (None, output), block.name


def run(scripts: list[tuple[str, str]], folder: Path = ROOT) -> list[str]:
    """Run the scripts, (name, code), in one process in `folder`, and return what each printed to stdout."""
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        input=json.dumps(scripts),
        capture_output=True,
        text=True,
        timeout=240,
        cwd=folder,
        env={**os.environ, "CO_API_KEY": "no-real-key", "JINA_API_KEY": "no-real-key"},
    )
    assert (done.returncode, done.stderr) == (0, "")
    *outputs, rest = done.stdout.split("\0")
    assert rest == ""
    return outputs


TUTORIAL = ROOT / "docs" / "tutorial.md"  # has a test of its own, since it writes files
BLOCKS = [block for page in PAGES if page != TUTORIAL for block in blocks(page) if block.is_run]
WITH_OTHERS = {
    block.needs: [other for other in BLOCKS if other.needs == block.needs] for block in BLOCKS if block.needs
}


@pytest.mark.parametrize("packages", WITH_OTHERS, ids=", ".join)
def test_blocks_that_need_other_packages_run_where_these_are_installed(packages: tuple[str, ...]) -> None:
    for package in packages:
        pytest.importorskip(package)
    check(WITH_OTHERS[packages])


def test_the_tutorial_works_from_an_empty_folder(tmp_path: Path) -> None:
    check(blocks(TUTORIAL), tmp_path)
    text = TUTORIAL.read_text(encoding="utf-8")
    [questions] = re.findall(r"^```json\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    (tmp_path / "questions.jsonl").write_text(questions)
    [arguments] = re.findall(r"^ksdk-rerank (compare .*)$", text, re.MULTILINE)
    command = [sys.executable, "-m", "ksdk_rerank", *arguments.split(), "--json", "--cache", str(tmp_path / "cache")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    result = json.loads(done.stdout)
    first_places = [round(6 * row["metrics"]["P@1"]["value"]) for row in (result["first_stage"], *result["rerankers"])]
    assert first_places == [2, 4]
    assert (tmp_path / "report.html").exists()


def test_the_reference_has_every_public_name() -> None:
    public = [
        *("ksdk_rerank", "ksdk_rerank.errors", "ksdk_rerank.evaluation", "ksdk_rerank.testing"),
        *("langchain_ksdk_rerank", "llamaindex_ksdk_rerank"),
    ]
    listed = [
        name for page in (ROOT / "docs" / "reference").glob("*.md") for name in REFERENCE.findall(page.read_text())
    ]
    assert len(listed) == len(set(listed))
    found = [getattr(import_module(module), name) for module, _, name in (name.rpartition(".") for name in listed)]
    for module in map(import_module, public):
        missing = {name for name in module.__all__ if getattr(module, name) not in found} - {"__version__"}
        assert missing == set(), module.__name__


def test_every_block_and_every_example_runs_and_prints_what_the_page_shows_or_it_promises() -> None:
    found = [block for block in BLOCKS if not block.needs]
    paths = sorted((ROOT / "examples").glob("*.py"))
    paths.remove(ROOT / "examples" / "ray_data.py")  # `nox -s ray` runs it
    assert {path.name for path in paths} == EXAMPLES.keys()
    scripts = [(block.name, block.code) for block in found]
    outputs = run(scripts + [(str(path), path.read_text(encoding="utf-8")) for path in paths])
    for block, output in zip(found, outputs, strict=False):
        assert block.output in (None, output), block.name
    for path, output in zip(paths, outputs[len(found) :], strict=True):
        assert EXAMPLES[path.name] in output, path.name


def test_the_recipe_for_ray_is_taken_from_the_example() -> None:
    (code,) = (block.code for block in blocks(ROOT / "docs" / "scaling.md") if "ray.data" in block.code)
    assert code in (ROOT / "examples" / "ray_data.py").read_text(encoding="utf-8")


def test_the_tests_on_the_testing_page_pass_and_need_no_plugin(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain, contract = (block.code for block in blocks(ROOT / "docs" / "testing.md") if not block.is_run)
    pytester.makepyfile(test_chain=chain, test_contract=contract)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    outcomes = pytester.runpytest_subprocess("-p", "no:cacheprovider", timeout=120).parseoutcomes()
    assert {"passed"} <= outcomes.keys() <= {"passed", "warnings"}


def test_the_recipe_for_a_hosted_service_is_two_short_files_that_pass_the_tests(pytester: pytest.Pytester) -> None:
    page = ROOT / "CONTRIBUTING.md"
    (leaf,) = (block.code for block in blocks(page) if "Acme" in block.code)
    (reply,) = re.findall(r"^```json\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert len(leaf.splitlines()) <= 35
    beside_the_others = f"""
        import ksdk_rerank.rerankers

        ksdk_rerank.rerankers.__path__.append({str(pytester.path)!r})
        from ksdk_rerank.rerankers.acme import AcmeReranker

        ksdk_rerank.AcmeReranker = AcmeReranker  # as the list of exports does
    """
    tests = {
        path.stem: path.read_text(encoding="utf-8")
        for path in (ROOT / "tests/rerankers/conftest.py", ROOT / "tests/rerankers/test_services.py")
    }
    pytester.makepyfile(
        acme=leaf, conftest=textwrap.dedent(beside_the_others), **{f"rerankers/{k}": v for k, v in tests.items()}
    )
    (pytester.mkdir("rerankers/replies") / "acme.json").write_text(reply, encoding="utf-8")
    selected = "documented or Contract"  # the others are about other services
    outcomes = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-k", selected, timeout=120).parseoutcomes()
    assert {"passed", "deselected"} == outcomes.keys()


@pytest.mark.parametrize("page", LINKING, ids=[str(page.relative_to(ROOT)) for page in LINKING])
def test_every_link_within_the_repository_leads_somewhere(page: Path) -> None:
    for link in LINK.finditer(page.read_text(encoding="utf-8")):
        target = link["target"]
        assert target.startswith("http") or (page.parent / target).exists(), target


def test_every_column_of_a_table_has_a_heading() -> None:
    pages = [*PAGES, ROOT / "ksdk_rerank/models/embedded/MODEL_CARD.md"]
    nameless = {page.name: NAMELESS_COLUMN.findall(page.read_text(encoding="utf-8")) for page in pages}
    assert {name: tables for name, tables in nameless.items() if tables} == {}
