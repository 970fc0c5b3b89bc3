"""The texts that pairs are made of: passages, cut into sentences, and queries that they answer."""

import ast
import hashlib
import io
import json
import random
import re
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from training.inputs import files

SENTENCES, PER_PACKAGE, DEFINITIONS = 24, 1500, 40_000
"""Of a health answer, of the documented items of a package, and of all definitions: at most so many."""

TESTS = re.compile(r"(^|/)_?(tests?|vendor\w*|extern\w*)/")
EXAMPLES = re.compile(r"\n\s*(?:>>>|Examples?:?\n|References\n|\.\. |```)")
MARKUP = re.compile(r":\w+:(?=`)|[`*]{1,3}|-{3,}|={3,}|\|")
WORD_ENDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|_+")
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@dataclass(slots=True)
class Unit:
    """A passage. Units of one article, topic or source file form a group, held out as a whole or not at all."""

    kind: str
    group: str
    title: str
    sentences: list[str]
    queries: list[str]

    @property
    def held_out(self) -> bool:
        """Whether it serves validation: one group in twenty, chosen by a hash of its name."""
        return hashlib.sha256(self.group.encode()).digest()[0] < 13


def read_units(content: Callable[[str], bytes]) -> list[Unit]:
    """Return all units, a group's together. `content` reads an input."""
    units = (unit for unit in _all(content, random.Random(0)) if unit.sentences)
    return sorted(units, key=lambda unit: (unit.kind, unit.group))


def split(text: str) -> list[str]:
    """Return the sentences of `text`."""
    return [one for one in re.split(r"(?<=[.!?])\s+(?=[\"(A-Z0-9-])", " ".join(text.split())) if one]


def _all(content: Callable[[str], bytes], rng: random.Random) -> Iterator[Unit]:
    squad, medquad, scifact = (map(json.loads, content(name).splitlines()) for name in ("squad", "medquad", "scifact"))
    for one in squad:
        yield Unit("squad", one["title"], one["title"], split(one["text"]), one["questions"])
    for one in {one["answer"]: one for one in medquad}.values():  # many repeat the same advice
        question = re.sub(r"[\s?]+$", "?", one["question"]).replace("is (are)", rng.choice(["is", "are"]))
        yield Unit("medquad", one["focus"].lower(), one["focus"], split(one["answer"])[:SENTENCES], [question])
    for one in scifact:
        queries = [*12 * one["claims"], one["title"]]  # there are five titles to a claim
        yield Unit("science", one["title"], one["title"], split(one["text"]), queries)
    yield from _wordnet(content("wordnet"), rng)
    for wheel in (name for name, (what, _, _) in files().items() if what == "docstrings and source"):
        found = list(_package(wheel.partition("-")[0], content(wheel)))
        for prose_and_code in rng.sample(found, min(PER_PACKAGE, len(found))):
            yield from prose_and_code


def _wordnet(archive: bytes, rng: random.Random) -> Iterator[Unit]:
    """Definitions of words, a line or two each; a word's other senses are near misses."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        parts = [opened.extractfile(f"package/dict/data.{part}") for part in ("noun", "verb", "adj", "adv")]
        lines, senses = [line for part in parts if part for line in part.read().decode("latin-1").splitlines()], []
    for line in lines:
        data, _, gloss = line.partition(" | ")
        if not line.startswith(" ") and len(gloss.split()) >= 5:  # else it is the licence, or too short
            words = data.split()[4:][: 2 * int(data.split()[3], 16) : 2]
            senses.append(([re.sub(r"\(\w+\)$", "", word).replace("_", " ") for word in words], gloss))
    for words, gloss in rng.sample(senses, DEFINITIONS):
        definition, *examples = (one.strip(' "') for one in re.split(r";\s*(?=\")", gloss))
        form = rng.choice(["{0}: {1}", "{0} is {1}.", "{0} means {1}.", "{1} ({0})"])
        asked = rng.choice(["what is {0}", "{0} definition", "define {0}", "what does {0} mean", "{0}", "{1}", "{1}"])
        sentences = [form.format(", ".join(words), definition), *examples]
        yield Unit("wordnet", words[0].lower(), words[0], sentences, [asked.format(words[0], definition.split(";")[0])])


def _package(package: str, wheel: bytes) -> Iterator[tuple[Unit, Unit]]:
    """The functions and classes documented at length: the docstring's rest, and the source without the docstring.

    The docstring's first sentence and the name are the queries. Nothing in the wheel is installed or run.
    """
    seen: set[str] = set()
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # old escapes in strings
        for path in sorted(one for one in archive.namelist() if one.endswith(".py") and not TESTS.search(one)):
            text = archive.read(path).decode("utf-8", "replace")
            lines = text.split("\n")  # as ast counts them; `splitlines` also splits at a form feed
            for node in ast.walk(ast.parse(text)):
                if not isinstance(node, Definition) or node.name.startswith("__"):
                    continue
                first, _, rest = (ast.get_docstring(node) or "").partition("\n\n")
                first = " ".join(MARKUP.sub("", first).split()).rstrip(".")
                rest = MARKUP.sub("", EXAMPLES.split(rest)[0])
                if 4 <= len(first.split()) <= 30 and first.isascii() and len(rest.split()) >= 25 and first not in seen:
                    seen.add(first)
                    name, end = f"{package} {node.name}", node.body[0].end_lineno
                    source = [*lines[node.lineno - 1 : node.body[0].lineno - 1], *lines[end : node.end_lineno]][:60]
                    queries = [first, f"{package} {WORD_ENDS.sub(' ', node.name).strip().lower()}"]
                    code = Unit("code", path, name, [line for line in source if line.strip()], queries)
                    yield Unit("prose", path, name, split(rest), queries), code
