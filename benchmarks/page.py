"""Writes `docs/benchmarks.md` and its pictures from `benchmarks/results/*.json`.

    python benchmarks/page.py

`tests/test_benchmarks.py` fails if the page or a picture does not show the latest results.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from pictures import PICTURES
from workload import RESULTS, ROOT

PAGE = ROOT / "docs" / "benchmarks.md"
FOLDER = ROOT / "docs" / "pictures"
HEAD = ("command", "date", "machine", "processor_flags", "load_before", "load_after", "versions")
"""What `workload.write` stores beside the figures; `machine` contains the flags."""
START = """\
# Benchmarks

Every result has its command, date and machine. [Choosing a reranker](choosing.md) says what follows from them. Before
you decide, [measure on your own documents](evaluating.md): that takes ten minutes.

`nox -s benchmarks` runs all benchmarks on your machine and rewrites this page; `nox -s benchmarks -- latency` runs one.
Your results are stored next to the others in `benchmarks/results`, under your processor's name.
"""
RESULTS_HEADING = """\
## All results

The load is the average number of busy processes over one minute, before or after the run. On a busy machine, times are
longer than they need to be.
"""


def files() -> dict[str, str]:
    """The page and its pictures: each path in the repository, and the contents that it should have."""
    results = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))}
    found, parts = {}, [START]
    for picture in PICTURES:
        result = results[picture.result][picture.machine]
        path = FOLDER / f"{picture.name}.svg"
        found[str(path.relative_to(ROOT))] = picture.draw(result)
        link = f"![{picture.shows}]({path.relative_to(PAGE.parent).as_posix()})"
        parts.append(f"## {picture.heading}\n\n{link}\n\n{picture.note}\n{source(result)}\n")
    parts.append(RESULTS_HEADING)
    scripts: dict[str, list[str]] = {}
    for name, machines in results.items():
        for machine, result in machines.items():
            script = re.findall(r"benchmarks/(\w+\.py)", result["command"])[0]
            scripts.setdefault(script, []).append(details(f"{name}, {machine}", result))
    for script in sorted(scripts):
        parts += [f"### {script}\n\n{purpose(script)}\n", *scripts[script]]
    return {**found, str(PAGE.relative_to(ROOT)): "\n".join(parts)}


def purpose(script: str) -> str:
    """The first paragraph of a script's docstring, without its line breaks."""
    documented = ast.get_docstring(ast.parse((ROOT / "benchmarks" / script).read_text(encoding="utf-8"))) or ""
    return documented.partition("\n\n")[0].replace("\n", " ")


def source(result: Mapping[str, Any]) -> str:
    """How, when and where a result was measured."""
    return f"(`{result['command']}`, {result['date']}, {result['machine']})"


def details(title: str, result: Mapping[str, Any]) -> str:
    """A result with all its figures, folded up."""
    figures = {name: value for name, value in result.items() if name not in HEAD}
    plain = {name: value for name, value in figures.items() if not isinstance(value, (dict, list))}
    plain |= {name: result[name] for name in ("load_before", "load_after") if name in result}
    lines = [source(result)]
    if plain:
        lines.append("; ".join(f"{_words(name)}: {_cell(value)}" for name, value in plain.items()))
    lines += [table(_words(name), value) for name, value in figures.items() if name not in plain and value]
    lines.append(", ".join(f"{package} {version}" for package, version in result.get("versions", {}).items()))
    body = "\n\n".join(filter(None, lines))
    return f'<details markdown="1">\n<summary>{escape(title)}</summary>\n\n{body}\n\n</details>\n'


def table(title: str, value: Any) -> str:
    """Nested figures as one table, with a column for each name at the lowest level."""
    if isinstance(value, Mapping) and not any(isinstance(each, Mapping) for each in value.values()):
        return _lines([title, "value"], [[name, _cell(each)] for name, each in value.items()])
    rows = list(records(value))
    columns = list(dict.fromkeys(name for _, row in rows for name in row))
    if not any(label for label, _ in rows):
        body = [[_cell(row.get(name)) for name in columns] for _, row in rows]
        return f"{title.capitalize()}:\n\n{_lines([_words(name) for name in columns], body)}"
    body = [[label, *(_cell(row.get(name)) for name in columns)] for label, row in rows]
    return _lines([title, *(_words(name) for name in columns)], body)


def records(value: Any, label: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The rows of nested figures: the names that lead to each, and its values by column."""
    if isinstance(value, list):
        yield from ((label, each) for each in value)
    elif not any(isinstance(each, Mapping) for each in value.values()):
        yield label, value
    else:
        for name, each in value.items():
            yield from records(each, f"{label}, {name}" if label else name)


def _lines(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def _words(name: str) -> str:
    return name.replace("_", " ")


def _cell(value: Any) -> str:
    if isinstance(value, list):  # a mean and its interval
        mean, low, high = map(_cell, value)
        return f"{mean} [{low}, {high}]"
    return "" if value is None else f"{value:,.6g}" if isinstance(value, float) else str(value)


def write() -> None:
    """Write the page and its pictures."""
    FOLDER.mkdir(exist_ok=True)
    for path, contents in files().items():
        (ROOT / path).write_text(contents, encoding="utf-8")
        print(path)


if __name__ == "__main__":
    write()
