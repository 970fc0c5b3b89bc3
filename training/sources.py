"""Reads the training material: questions, and the passages that answer them.

The sources are three collections (their hashes are checked), and weak pairs from the documentation of installed
packages. About a twentieth of the articles, topics, claims and packages is held out for validation, chosen by a hash of
the name.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import random
import re
import tarfile
from collections import defaultdict
from pathlib import Path
from typing import Any

from training.documentation import read_documentation
from training.texts import Source, cut, split, vary

__all__ = ["read_sources"]

SHA256 = {
    "squad11-train.jsonl.xz": "c5d129de70de78702285a8376df4ed2a9615c6a27c28828930b03f3415c14648",
    "medquad-train.jsonl.xz": "03e691d13393a4cb59947ca2319f824be43acb6e551005e5aec7e16c34d3641a",
    "scifact.tar.xz": "3f09438214d8ca8e95419a5bad43e266767383c6fb908fa3c6d69ac2ad7463b0",
}


def read_sources(data: Path, *, size: float, seed: int) -> list[Source]:
    """Return the sources, with questions varied in form. `size` 1.0 is about 23,600 passages and 34,000 queries.

    Raises:
        ValueError: a file has another SHA-256.
        OSError: a file cannot be read.
    """
    for name, expected in SHA256.items():
        found = hashlib.sha256((data / name).read_bytes()).hexdigest()
        if found != expected:
            raise ValueError(f"{data / name} has the SHA-256 {found}, not {expected}; fetch it again")
    rng = random.Random(seed)
    return [
        _squad(data / "squad11-train.jsonl.xz", int(6000 * size), rng),
        _medquad(data / "medquad-train.jsonl.xz", int(5000 * size), rng),
        _scifact(data / "scifact.tar.xz", int(1000 * size), rng),
        read_documentation(int(3000 * size), rng),
        _sentences(data / "squad11-train.jsonl.xz", int(8000 * size), rng),
    ]


def _articles(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Return SQuAD's paragraphs with their questions, by article."""
    articles = defaultdict(list)
    for line in lzma.decompress(path.read_bytes()).decode("utf-8").splitlines():
        paragraph = json.loads(line)
        articles[paragraph["title"]].append(paragraph)
    return articles


def _squad(path: Path, limit: int, rng: random.Random) -> Source:
    articles = _articles(path)
    source = Source("squad")
    # A few paragraphs of many articles, not many of a few; an article's other paragraphs are the hard negatives.
    share = min(1.0, limit / sum(map(len, articles.values())))
    for title, paragraphs in sorted(articles.items()):
        start = rng.randrange(len(paragraphs))
        for paragraph in (paragraphs[start:] + paragraphs[:start])[: max(4, round(share * len(paragraphs)))]:
            questions = rng.sample(paragraph["questions"], min(3, len(paragraph["questions"])))
            prefix = f"{title}. " if rng.random() < 0.3 else ""
            source.add(prefix + paragraph["text"], title, [vary(question, rng) for question in questions])
    return source


def _sentences(path: Path, limit: int, rng: random.Random) -> Source:
    """Return single sentences as passages, so that training covers short ones, too.

    The data does not mark which sentence of a paragraph answers a question. The one that shares the most words with it
    is used, as a weak pair.
    """
    paragraphs = [(title, paragraph) for title, some in sorted(_articles(path).items()) for paragraph in some]
    source = Source("sentences")
    for title, paragraph in rng.sample(paragraphs, len(paragraphs)):
        sentences = [one for one in split(paragraph["text"]) if 5 <= len(one.split()) <= 60]
        if len(sentences) < 3:
            continue
        if len(source.passages) + len(sentences) > limit:
            return source
        words = [{*re.findall(r"\w+", sentence.lower())} for sentence in sentences]
        asked: list[list[str]] = [[] for _ in sentences]
        for question in rng.sample(paragraph["questions"], min(4, len(paragraph["questions"]))):
            about = {*re.findall(r"\w+", question.lower())}
            best = max(range(len(sentences)), key=lambda place: len(about & words[place]))
            asked[best].append(vary(question, rng))
        for sentence, questions in zip(sentences, asked, strict=True):
            source.add(sentence, title, [], weak=questions)
    return source


def _medquad(path: Path, limit: int, rng: random.Random) -> Source:
    topics = defaultdict(list)
    for line in lzma.decompress(path.read_bytes()).decode("utf-8").splitlines():
        pair = json.loads(line)
        topics[pair["focus"].lower()].append(pair)
    source = Source("medquad")
    names = sorted(topics)
    rng.shuffle(names)
    names.sort(key=lambda name: -min(3, len(topics[name])))  # topics with several types first
    said: set[str] = set()  # many answers repeat the same advice
    for name in names:
        seen = set()
        for pair in rng.sample(topics[name], min(4, len(topics[name]))):
            if pair["answer"] in seen or len(source.passages) >= limit:
                continue
            seen.add(pair["answer"])
            kept, following = cut(pair["answer"], 100)
            question = re.sub(r"\s+\?$", "?", pair["question"]).replace(
                "What is (are)", rng.choice(["What is", "What are"])
            )
            weak = [following] if following and following not in said and rng.random() < 0.5 else []
            said.update(weak)
            source.add(kept, name, [vary(question, rng)], weak=weak)
    return source


def _scifact(path: Path, distractors: int, rng: random.Random) -> Source:
    """Return the training claims. Test claims are never read, but their abstracts may be distractors."""
    with tarfile.open(path) as archive:

        def read(name: str) -> list[str]:
            file = archive.extractfile(f"scifact/{name}")
            assert file is not None
            return file.read().decode().splitlines()

        corpus = {document["_id"]: document for document in map(json.loads, read("corpus.jsonl"))}
        claims = {claim["_id"]: claim["text"] for claim in map(json.loads, read("queries.train.jsonl"))}
        judged = defaultdict(list)
        for line in read("qrels.train.tsv")[1:]:
            claim, document, grade = line.split("\t")
            if int(grade) > 0:
                judged[document].append(claims[claim])
    others = rng.sample(sorted(corpus.keys() - judged.keys()), distractors)
    source = Source("scifact")
    for identifier in [*sorted(judged), *others]:
        document = corpus[identifier]
        source.add(f"{document['title']} {document['text']}", identifier, judged.get(identifier, []))
    return source
