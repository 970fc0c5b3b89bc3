"""Weak pairs from documentation: the first sentence of a docstring, and the rest of it.

Reads Python's standard library, and the installed packages whose metadata name a permissive licence.
"""

from __future__ import annotations

import ast
import random
import re
import sysconfig
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path

from training.texts import Source, cut, vary

__all__ = ["read_documentation"]

# Only packages under these licences are read. Weak copyleft and unclear licences are left out.
_FREE = re.compile(r"\b(mit|apache|bsd|psf|python software foundation)\b|^(MIT|BSD|Apache)", re.IGNORECASE)
_VERBS = frozenset(
    """
    add apply assert build call check clear close compare compute convert copy create decode delete draw encode
    escape evaluate extract filter find format generate get handle insert install iterate join list load make
    merge open parse plot print read register remove render replace reset resolve return run save search select
    send set show sort split start stop test transform update use validate wait wrap write
    """.split()  # noqa: SIM905 - words are easier to read like this
)


def read_documentation(limit: int, rng: random.Random) -> Source:
    """Return at most `limit` passages; 70 % of the queries that begin with a known verb become questions."""
    source = Source("documentation")
    found: dict[str, list[tuple[str, str]]] = {}
    for name, files in _packages():
        some = rng.sample(files, min(len(files), 250))
        pairs = {first: rest for path in some for first, rest in _docstrings(path)}
        found[name] = rng.sample(sorted(pairs.items()), min(len(pairs), 450))
    pairs_of_all = [(name, *pair) for name, pairs in sorted(found.items()) for pair in pairs]
    rng.shuffle(pairs_of_all)
    for name, first, rest in pairs_of_all[:limit]:
        kept, following = cut(rest, 110)
        question = first.rstrip(".")
        verb, _, object_ = question.partition(" ")
        if verb.lower().removesuffix("s") in _VERBS and rng.random() < 0.7:
            question = f"{rng.choice(['how to', 'how do I', 'How can I'])} {verb.lower().removesuffix('s')} {object_}"
        source.add(kept, name, [vary(question, rng)], weak=[following] if following and rng.random() < 0.3 else [])
    return source


def _packages() -> Iterator[tuple[str, list[Path]]]:
    standard = Path(sysconfig.get_path("stdlib"))
    yield "python", sorted(path for path in standard.glob("**/*.py") if not {"site-packages", "test"} & {*path.parts})
    for distribution in sorted(distributions(), key=lambda one: one.name):
        if _free(distribution):
            paths = [Path(str(file.locate())) for file in distribution.files or () if file.suffix == ".py"]
            yield distribution.name, sorted(path for path in paths if path.is_file())


def _free(distribution: Distribution) -> bool:
    said = distribution.metadata
    licences = [said.get("License-Expression"), said.get("License"), *(said.get_all("Classifier") or ())]
    text = " | ".join(one[:200] for one in licences if one and ("License" in one or "::" not in one))
    return bool(_FREE.search(text)) and not re.search(r"gpl|mozilla|mpl|proprietary|commercial", text, re.IGNORECASE)


def _docstrings(path: Path) -> Iterator[tuple[str, str]]:
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError, RecursionError):
        return
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Module)):
            first, _, rest = (ast.get_docstring(node) or "").partition("\n\n")
            rest = re.split(r"\n\s*(?:>>>|Examples?\n|\.\. |```)", rest)[0]
            first = " ".join(re.sub(r"[`*]+|:\w+:", "", first).split())
            if 4 <= len(first.split()) <= 18 and len(rest.split()) >= 40 and first.isascii() and first[0].isalpha():
                yield first, re.sub(r"[`*]{2,}|-{3,}|={3,}|:\w+:(?=`)", "", rest)
