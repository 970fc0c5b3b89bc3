"""The texts that pairs are made of: passages, cut into sentences, and queries that they answer."""

import ast
import gzip
import hashlib
import html
import io
import json
import random
import re
import tarfile
import warnings
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from distillation.inputs import files

WORDS, PER_PACKAGE, DEFINITIONS = 120, 1500, 40_000
"""Words after which a long answer is cut; at most so many documented items of a package, and so many definitions."""

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
    queries: list[str] = field(default_factory=list)

    @property
    def held_out(self) -> bool:
        """Whether it serves validation: one group in twenty, chosen by a hash of its name."""
        return hashlib.sha256(self.group.encode()).digest()[0] < 13


def read_units(content: Callable[[str], bytes], size: float, seed: int) -> list[Unit]:
    """Return the units of a share of the groups, a group's together. `content` reads an input."""
    rng = random.Random(seed)
    groups: dict[tuple[str, str], list[Unit]] = defaultdict(list)
    for unit in _all(content, rng):
        groups[unit.kind, unit.group].append(unit)
    kept = [group for group in groups.values() if rng.random() < size]
    return [unit for group in kept for unit in group if unit.sentences]


def split(text: str) -> list[str]:
    """Return the sentences of `text`."""
    return [one for one in re.split(r"(?<=[.!?])\s+(?=[\"(A-Z0-9-])", " ".join(text.split())) if one]


def _all(content: Callable[[str], bytes], rng: random.Random) -> Iterator[Unit]:
    for one in _lines(content("squad11")):
        yield Unit("squad", one["title"], one["title"], split(one["text"]), one["questions"])
    yield from _medquad(_lines(content("medquad")), rng)
    for one in _lines(content("scifact")):
        yield Unit("science", one["title"], one["title"], split(one["text"]), [*one["claims"], one["title"]])
    yield from _wordnet(content("wordnet"), rng)
    yield from _aws(content("botocore"))
    for wheel in (name for name, (what, _, _) in files().items() if what == "docstrings and source"):
        found = list(_package(wheel.partition("-")[0], content(wheel)))
        for prose, code in rng.sample(found, min(PER_PACKAGE, len(found))):
            yield prose
            yield code


def _lines(text: bytes) -> Iterator[dict[str, Any]]:
    return map(json.loads, text.decode("utf-8").splitlines())


def _medquad(pairs: Iterator[dict[str, Any]], rng: random.Random) -> Iterator[Unit]:
    """Answers, at most three units of each. Many repeat the same advice, which is kept once."""
    seen: set[str] = set()
    for one in pairs:
        question = re.sub(r"[\s?]+$", "?", one["question"]).replace("is (are)", rng.choice(["is", "are"]))
        parts: list[list[str]] = [[]]
        for sentence in split(one["answer"]):
            if len(" ".join(parts[-1]).split()) > WORDS:
                parts.append([])
            parts[-1].append(sentence)
        for place, part in enumerate(parts[:3]):
            if part[0] not in seen:
                seen.add(part[0])
                yield Unit("medquad", one["focus"].lower(), one["focus"], part, [] if place else [question])


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


def _aws(wheel: bytes) -> Iterator[Unit]:
    """The operations of every AWS service, in the newest version of its API."""
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        newest = {path.split("/")[2]: path for path in sorted(archive.namelist()) if path.endswith("service-2.json.gz")}
        for path in newest.values():
            content = json.loads(gzip.decompress(archive.read(path)))
            service = content["metadata"].get("serviceAbbreviation") or content["metadata"]["serviceFullName"]
            for name, described in content["operations"].items():
                text = re.sub(r"</(?:p|li|note|dd|dt)>", "\n", described.get("documentation", ""))
                text = " ".join(html.unescape(re.sub(r"<[^>]+>", "", text)).split())
                first, _, rest = text.partition(". ")
                if len(rest.split()) >= 20 and 4 <= len(first.split()) <= 40:
                    queries = [first, f"{service} {WORD_ENDS.sub(' ', name).lower()}"]
                    yield Unit("aws", path, f"{service} {name}", split(rest), queries)


def _package(package: str, wheel: bytes) -> Iterator[tuple[Unit, Unit]]:
    """The functions and classes documented at length: the docstring's rest, and the source without the docstring.

    The docstring's first sentence and the name are the queries. Nothing in the wheel is installed or run.
    """
    seen: set[str] = set()
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # old escapes in strings
        for path in sorted(one for one in archive.namelist() if one.endswith(".py") and not TESTS.search(one)):
            text = archive.read(path).decode("utf-8", "replace")
            lines = text.splitlines()
            for node in _definitions(ast.parse(text)):
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


def _definitions(node: ast.Module | ast.ClassDef) -> Iterator[Definition]:
    """Functions, classes and methods, but nothing inside functions."""
    for one in node.body:
        if isinstance(one, Definition) and not one.name.startswith("__"):
            yield one
        if isinstance(one, ast.ClassDef):
            yield from _definitions(one)
