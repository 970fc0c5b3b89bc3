"""Lists the licences of what the extras install: `python .ci/licences.py [--write]`.

Fails on a licence that is not in `ALLOWED`, and if docs/licences.md, which `--write` writes, is out of date. Needs an
environment with `ksdk-rerank[all]`: `nox -s dependencies` makes one and runs this.
"""

import re
import sys
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PAGE = Path("docs/licences.md")
ALLOWED = {
    *("0BSD", "AFL", "Apache-2.0", "BSD", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "CNRI-Python", "ISC"),
    *("LLVM-exception", "MIT", "MIT-0", "MIT-CMU", "MPL-2.0", "PSF-2.0", "Zlib"),
}
IDENTIFIERS = {  # for what packages say that do not use SPDX's
    "3-Clause BSD License": "BSD-3-Clause",
    "Academic Free License (AFL)": "AFL",
    "Apache 2.0 License": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}
NOT_FOR_USERS = {"all", "docs", "lint", "test"}
FOR_CUDA = re.compile(r"nvidia-|cuda-|triton$")
HEAD = """\
# Licences

`ksdk-rerank` is under the MIT licence; `NOTICE` names the sources of the bundled model. Below is everything else that
`pip install` brings, indirect dependencies included, and the extras that need it.

The list is for Linux and Python 3.11, and the versions in `uv.lock`. `nox -s dependencies` fails if a new dependency
has a licence that is not among these. Not listed is what comes with torch if it is built for CUDA, the default on
Linux: triton (MIT), and NVIDIA's libraries, under licences of NVIDIA's own.

| package | licence | needed by |
|---|---|---|
"""


def installed_by(requirement: str) -> set[str]:
    """The names of all that `pip install REQUIREMENT` installs."""
    waiting = [Requirement(requirement)]
    found: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        wanted = waiting.pop()
        name, extras = canonicalize_name(wanted.name), frozenset(wanted.extras)
        if (name, extras) in found or FOR_CUDA.match(name):
            continue
        found.add((name, extras))
        for needed in map(Requirement, distribution(name).requires or []):
            if not needed.marker or any(needed.marker.evaluate({"extra": extra}) for extra in extras or {""}):
                waiting.append(needed)
    return {name for name, _ in found}


def licence_of(name: str) -> str:
    """What the package's metadata says, with SPDX's identifiers."""
    metadata = distribution(name).metadata
    if expression := metadata.get("License-Expression"):
        return str(expression)
    approved = "License :: OSI Approved :: "
    said = [line.removeprefix(approved) for line in metadata.get_all("Classifier", []) if line.startswith(approved)]
    said = said or metadata.get("License", "").splitlines()[:1]
    return ", ".join(IDENTIFIERS.get(each, each) for each in said) or "unknown"


def main(write: bool) -> None:
    extras = sorted(set(distribution("ksdk-rerank").metadata.get_all("Provides-Extra", [])) - NOT_FOR_USERS)
    always = installed_by("ksdk-rerank")
    by_extra = {extra: installed_by(f"ksdk-rerank[{extra}]") - always for extra in extras}
    licences = {name: licence_of(name) for name in sorted(always.union(*by_extra.values()) - {"ksdk-rerank"})}

    refused = [
        f"{name}: {licence}"
        for name, licence in licences.items()
        if set(re.findall(r"[\w.-]+", licence)) - ALLOWED - {"AND", "OR", "WITH"}
    ]
    if refused:
        sys.exit("These licences are not in ALLOWED:\n" + "\n".join(refused))

    page = HEAD
    for name, licence in licences.items():
        needed_by = [extra for extra, names in by_extra.items() if name in names]
        page += f"| {name} | {licence} | {', '.join(needed_by) or 'always'} |\n"
    if write:
        PAGE.write_text(page, encoding="utf-8")
    elif page != PAGE.read_text(encoding="utf-8"):
        sys.exit(f"{PAGE} is out of date: nox -s dependencies -- --write")


if __name__ == "__main__":
    main("--write" in sys.argv)
