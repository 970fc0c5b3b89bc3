"""`ksdk-rerank compare`: measure whether reranking helps on your own questions."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ksdk_rerank.commands.options import add_reranker, configured
from ksdk_rerank.loading import default_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ksdk_rerank.compose._fail_open import Store
    from ksdk_rerank.evaluation import Progress
    from ksdk_rerank.evaluation.contenders import Given
    from ksdk_rerank.evaluation.qrels import Answers, Grades
    from ksdk_rerank.knowledgesdk.search_results import SearchHit

    Inputs = tuple[Mapping[str, str], Mapping[str, tuple[SearchHit, ...]], Grades | Answers]

__all__ = ["add"]

_METRICS = ("nDCG@10", "MRR@10", "P@1", "R@5")


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the `compare` command to the parser."""
    parser = commands.add_parser(
        "compare",
        help="measure rerankers on your own questions, and write a report",
        description="Every reranker orders the same candidates. The table and the report show which ones help, by how"
        " much, and how certain that is. The candidates come from KnowledgeSDK unless --docs or --run is given.",
    )
    questions = parser.add_mutually_exclusive_group(required=True)
    questions.add_argument(
        "--questions", type=Path, metavar="FILE", help='one {"question": ..., "answers": [...]} per line'
    )
    questions.add_argument(
        "--beir", type=Path, metavar="FOLDER", help="folder with corpus.jsonl, queries.jsonl and qrels; needs --run"
    )
    add_reranker(parser, "; can be repeated", action="append")
    parser.add_argument("--docs", type=Path, metavar="FOLDER", help="search this folder of Markdown or text files")
    parser.add_argument("--run", dest="run_file", type=Path, metavar="FILE", help="take the candidates from a TREC run")
    parser.add_argument(
        "--corpus", type=Path, metavar="FILE", help="corpus.jsonl with the texts of the run's documents"
    )
    parser.add_argument("--qrels", type=Path, metavar="FILE", help="take the judgements for --beir from this file")
    parser.add_argument("--limit", type=int, default=20, help="number of candidates per question (default: 20)")
    parser.add_argument(
        "--metric",
        action="append",
        metavar="NAME",
        help=f"a metric of ir-measures; can be repeated (default: {', '.join(_METRICS)})",
    )
    parser.add_argument(
        "--keep-answers",
        type=float,
        default=0.95,
        metavar="SHARE",
        help="find the smallest prompt that keeps this share of the answers in the whole list (default: 0.95)",
    )
    parser.add_argument(
        "--price", type=float, help="cost of a million input tokens, in any currency: adds what shorter prompts save"
    )
    parser.add_argument(
        "--report", type=Path, metavar="FILE", help="write an HTML report, which contains the documents' texts"
    )
    parser.add_argument(
        "--cache", type=Path, metavar="FOLDER", help="folder for cached results (default: in your cache folder)"
    )
    parser.add_argument("--fresh", action="store_true", help="ignore cached results, and replace them")
    parser.add_argument("--json", action="store_true", help="write JSON, for scripts")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from ksdk_rerank.commands.terminal import progress, terminal_width, write
    from ksdk_rerank.compose._fail_open import FailOpenStore
    from ksdk_rerank.evaluation import DiskStore, evaluate
    from ksdk_rerank.evaluation.tables import as_table

    rerankers = _rerankers(options.reranker or [default_name()])
    _check(options, rerankers)
    with DiskStore(options.cache, read=not options.fresh) as disk, progress() as update:
        store = FailOpenStore(disk)  # wrapped once, so that it warns once
        queries, candidates, judgements = _inputs(options, store, update)
        evaluation = evaluate(
            rerankers,
            queries,
            candidates,
            judgements,
            options.metric or _METRICS,
            store=store,
            progress=update,
            keep_answers=options.keep_answers,
            price=options.price,
        )
    unwritten = None
    if options.report is not None:  # before the table, whose reader (such as `head`) may exit early
        try:
            options.report.write_text(evaluation.to_html(), encoding="utf-8")
        except OSError as error:
            unwritten = error
    write(evaluation.to_json() if options.json else as_table(evaluation, width=terminal_width()))
    if unwritten is not None:
        raise OSError(f"--report {options.report} cannot be written: {unwritten.strerror}") from unwritten
    if options.report is not None and not options.json:
        write()
        write(f"Report: {options.report}")
    return 0 if any(row.metrics for row in evaluation.rerankers) else 1


def _rerankers(names: Sequence[str]) -> dict[str, Given]:
    """The rerankers by their labels in the table: the names, or the names of their configuration files."""
    from ksdk_rerank.evaluation.contenders import labelled

    return {name: configured(name) for name in labelled(names)}  # a repeated name is an error


def _check(options: argparse.Namespace, rerankers: Mapping[str, Given]) -> None:
    """Reject wrong options, metrics and reranker names before the first call."""
    from ksdk_rerank.evaluation.contenders import loaded
    from ksdk_rerank.evaluation.metrics import measure_for
    from ksdk_rerank.evaluation.prompts import checked_keep_answers, checked_price

    if options.beir is not None and options.run_file is None:
        raise ValueError("--beir needs candidates: pass --run FILE, a TREC run")
    if options.beir is not None and (options.docs is not None or options.corpus is not None):
        raise ValueError("--beir has its own documents: leave out --docs and --corpus")
    if options.beir is None and (options.run_file is None) != (options.corpus is None):
        raise ValueError("--run and --corpus go together: the run has the ids, and the corpus has their texts")
    if options.beir is None and options.qrels is not None:
        raise ValueError("--qrels goes with --beir; with --questions, the answers define what is relevant")
    if options.docs is not None and options.run_file is not None:
        raise ValueError("the candidates come from either --docs or --run: leave one out")
    if options.report is not None and (options.report.is_dir() or not options.report.absolute().parent.is_dir()):
        raise ValueError(f"--report {options.report} cannot be written: name a file in a folder that exists")
    checked_keep_answers(options.keep_answers)
    checked_price(options.price)
    measure_for(options.metric or _METRICS, {})
    with loaded(rerankers):  # an unknown name is an error
        pass


def _inputs(options: argparse.Namespace, store: Store, update: Progress | None) -> Inputs:
    """Load the queries, their candidates and the judgements."""
    from ksdk_rerank.commands.two_stages import first_stage
    from ksdk_rerank.evaluation import read_beir, read_corpus, read_questions, read_run
    from ksdk_rerank.evaluation.candidates import candidates_for

    if options.beir is not None:
        beir = read_beir(options.beir, options.run_file, qrels=options.qrels, limit=options.limit)
        return beir.queries, beir.candidates, beir.judgements
    questions = read_questions(options.questions)
    if options.run_file is not None:
        candidates = read_run(options.run_file, read_corpus(options.corpus), limit=options.limit)
    else:
        asked = {id: query for id, query in questions.queries.items() if questions.answers[id]}
        with first_stage(options.docs) as client:  # the stand-in's searches cost nothing to repeat
            kept = store if options.docs is None else None
            candidates = candidates_for(asked, client, options.limit, store=kept, progress=update)
    return questions.queries, candidates, questions.answers
