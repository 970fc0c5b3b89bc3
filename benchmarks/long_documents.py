"""How much `LongDocuments` helps with documents longer than the model's window, by window and stride.

    python benchmarks/long_documents.py --data FOLDER [--second NAME ...] [--queries N]

`FOLDER` holds the unpacked collection `squad-dev` in BEIR's layout. Each article's paragraphs are joined, in order and
under its title, into documents of about 6,000 characters. A question's candidates are BM25's 10 best of these
documents. The relevant one contains the question's own paragraph; a question is left out if its document is not among
the candidates. Names are those that `ksdk_rerank.load_reranker` accepts.

Each `--second` reads the candidates in two ways: truncated to its window, and in windows. In the table, `order` is
"first stage", "truncation", or the windows' pool, "max" or "mean". "Behind" are the questions whose paragraph is cut by
truncation, "within" the rest: windows can help the former and hurt the latter. For each question all settings take
turns, so that a busy moment of the machine affects all of them. Seconds are per question. The mean reuses the scores of
windows already read, so it has no time of its own. The questions' authors saw the paragraph, so BM25 is hard to beat
here. The point is to compare ways of reading documents.

The 95 % interval of each difference in MRR@10 comes from a paired bootstrap over questions: 10,000 draws, seed 0.
Needs `pip install "ksdk-rerank[evaluate]" bm25s`.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from statistics import fmean, median

from compose import best_by_bm25
from quality import Difference, difference, label, signed
from workload import table, write

from ksdk_rerank import Cached, InputOrder, Reranker, SearchHit, load_reranker
from ksdk_rerank.compose.long_documents import CountsTokens, LongDocuments
from ksdk_rerank.evaluation import read_corpus, read_qrels, read_queries

CHARACTERS = 6_000  # about 1,350 BERT tokens
CANDIDATES = 10
# With models of 512 tokens, a window of 512 means all the room beside the query. The default window is 128.
WINDOWS = ((None, None), (512, 256), (512, 512), (256, 128), (256, 256), (128, 128))
FIRST_STAGE = ("first stage", None, None)
TRUNCATION = ("truncation", None, None)
DEFAULT = ("max", None, None)
Setting = tuple[str, int | None, int | None]  # order (a pool, or one named above), window, stride


@dataclass(frozen=True)
class Question:
    """A query, its candidates in first-stage order, and the relevant one up to the end of its paragraph."""

    query: str
    candidates: list[str]
    relevant: int
    start: str  # the relevant document's text up to the end of the question's paragraph


@dataclass
class Measured:
    """One setting's results for the questions, in their order."""

    reciprocal_ranks: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    truncated: int = 0

    def add(self, reranker: Reranker, question: Question) -> None:
        started = time.perf_counter()
        ranking = reranker.rank(question.query, question.candidates)
        self.seconds.append(time.perf_counter() - started)
        self.reciprocal_ranks.append(1 / (1 + ranking.indices.index(question.relevant)))
        self.truncated += ranking.truncated


@dataclass(frozen=True)
class Line:
    """One setting, measured."""

    reranker: str
    questions: int
    behind: int | None
    order: str
    window: int | None
    stride: int | None
    mrr: float
    p_at_1: float
    mrr_behind: float | None
    mrr_within: float | None
    over_truncation: Difference
    over_default: Difference
    seconds: float | None
    truncated: int


def read(folder: Path) -> list[Question]:
    """The questions whose document is among BM25's best."""
    documents: list[str] = []
    found: dict[str, tuple[int, str]] = {}  # by paragraph: its document, and that document's text up to its end
    articles: dict[str, list[SearchHit]] = defaultdict(list)
    for paragraph in read_corpus(folder / "corpus.jsonl").values():
        articles[paragraph.title or ""].append(paragraph)
    for title, paragraphs in articles.items():
        for part in _parts(paragraphs):
            start = title
            for paragraph in part:
                start += "\n\n" + paragraph.text
                found[paragraph.id] = (len(documents), start)
            documents.append(start)
    own = {query: found[next(iter(grades))] for query, grades in read_qrels(folder / "qrels.tsv").items()}
    queries = read_queries(folder / "queries.jsonl")
    best = best_by_bm25(documents, list(queries.values()), CANDIDATES)
    return [
        Question(text, [documents[place] for place in places], places.index(own[query][0]), own[query][1])
        for (query, text), places in zip(queries.items(), best, strict=True)
        if own[query][0] in places
    ]


def _parts(paragraphs: Sequence[SearchHit]) -> list[list[SearchHit]]:
    """Split an article's paragraphs into parts of about equal length, without a short one at the end."""
    length = sum(len(paragraph.text) for paragraph in paragraphs)
    count = max(1, round(length / CHARACTERS))
    parts: dict[int, list[SearchHit]] = defaultdict(list)
    before = 0
    for paragraph in paragraphs:
        parts[before * count // length].append(paragraph)
        before += len(paragraph.text)
    return list(parts.values())


def measure(name: str, questions: Sequence[Question]) -> list[Line]:
    second = load_reranker(name)
    second.rank("a query", ["a document"])  # loads the model before the clock starts
    settings: dict[Setting, Reranker] = {FIRST_STAGE: InputOrder(), TRUNCATION: second}
    for window, stride in WINDOWS:
        remembered = Cached(second)  # one cache per window: only the mean reuses scores
        settings["max", window, stride] = LongDocuments(remembered, window=window, stride=stride)
        settings["mean", window, stride] = LongDocuments(remembered, window=window, stride=stride, pool="mean")
    measured = {setting: Measured() for setting in settings}
    for number, question in enumerate(questions, 1):
        for setting, reranker in settings.items():
            measured[setting].add(reranker, question)
        if number % 20 == 0:
            print(f"{number} of {len(questions)} questions", flush=True)
    behind = _behind(second, questions)
    return [_line(label(name), setting, measured, behind) for setting in settings]


def _behind(reranker: Reranker, questions: Sequence[Question]) -> list[bool] | None:
    """For each question, whether truncation cuts its paragraph; None if the reranker cannot count tokens."""
    if not isinstance(reranker, CountsTokens):
        return None
    tokens = reranker.count_tokens([question.start for question in questions])
    rooms = [reranker.document_room(question.query) for question in questions]
    return [count > room for count, room in zip(tokens, rooms, strict=True)]


def _line(name: str, setting: Setting, measured: dict[Setting, Measured], behind: list[bool] | None) -> Line:
    own = measured[setting]

    def mean_if(wanted: bool) -> float | None:
        values = [value for value, is_ in zip(own.reciprocal_ranks, behind or [], strict=False) if is_ == wanted]
        return round(fmean(values), 4) if values else None

    return Line(
        name,
        len(own.reciprocal_ranks),
        None if behind is None else sum(behind),
        *setting,
        mrr=round(fmean(own.reciprocal_ranks), 4),
        p_at_1=round(fmean(value == 1 for value in own.reciprocal_ranks), 4),
        mrr_behind=mean_if(True),
        mrr_within=mean_if(False),
        over_truncation=difference(own.reciprocal_ranks, measured[TRUNCATION].reciprocal_ranks),
        over_default=difference(own.reciprocal_ranks, measured[DEFAULT].reciprocal_ranks),
        seconds=None if setting[0] == "mean" else round(fmean(own.seconds), 3),
        truncated=own.truncated,
    )


def show(lines: Sequence[Line]) -> None:
    columns = [each.name for each in fields(Line)][3:]
    print(f"\n{lines[0].reranker}: {lines[0].questions} questions, {lines[0].behind} of them behind")
    table([columns, *([_cell(getattr(line, column)) for column in columns] for line in lines)])


def _cell(value: object) -> object:
    if isinstance(value, tuple):
        return signed(value)
    return "-" if value is None else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with squad-dev/")
    parser.add_argument("--second", nargs="+", default=["embedded"], metavar="NAME", help="rerankers with a window")
    parser.add_argument("--queries", type=int, default=200, help="approximate number of questions")
    parser.add_argument("--output", default="compose-long", help="JSON file in results/, without .json")
    arguments = parser.parse_args()
    every = read(arguments.data / "squad-dev")
    questions = every[:: max(1, len(every) // arguments.queries)]
    characters = round(median(len(text) for question in questions for text in question.candidates))
    print(f"{len(questions)} of {len(every)} questions; documents have {characters:,} characters (median)")
    lines: list[Line] = []
    for name in arguments.second:
        found = measure(name, questions)
        show(found)
        lines += found
    figures = {
        "candidates": CANDIDATES,
        "median_characters_per_candidate": characters,
        "lines": [asdict(line) for line in lines],
    }
    write(arguments.output, figures)


if __name__ == "__main__":
    main()
