"""`ksdk-rerank compare`: measure whether reranking helps on your own questions."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ksdk_rerank.loading import default_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ksdk_rerank.compose.cached import Store
    from ksdk_rerank.evaluation import Evaluation, Progress
    from ksdk_rerank.evaluation.qrels import Answers, Grades
    from ksdk_rerank.knowledgesdk.search_results import SearchHit

    Material = tuple[Mapping[str, str], Mapping[str, tuple[SearchHit, ...]], Grades | Answers]

__all__ = ["add"]

_METRICS = ("nDCG@10", "MRR@10", "P@1", "R@5")


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the `compare` command to the parser."""
    parser = commands.add_parser(
        "compare",
        help="measure rerankers on questions of your own, and draw a report",
        description="Every reranker orders the same candidates; the table and the report show who helps, by how much,"
        " and how sure that is. The candidates come from KnowledgeSDK unless --docs or --run is given.",
    )
    asked = parser.add_mutually_exclusive_group(required=True)
    asked.add_argument("--questions", type=Path, metavar="FILE", help='lines of {"question": ..., "answers": [...]}')
    asked.add_argument("--beir", type=Path, metavar="FOLDER", help="corpus.jsonl, queries.jsonl and qrels; with --run")
    parser.add_argument(
        "--reranker",
        action="append",
        metavar="NAME",
        help="a name of load_reranker; give as many as you like (default: embedded where it can run, else lexical)",
    )
    parser.add_argument("--docs", type=Path, metavar="FOLDER", help="search this folder of Markdown or text")
    parser.add_argument("--run", dest="run_file", type=Path, metavar="FILE", help="candidates from a TREC run")
    parser.add_argument("--corpus", type=Path, metavar="FILE", help="corpus.jsonl with the run's texts")
    parser.add_argument("--qrels", type=Path, metavar="FILE", help="judgements for --beir from another file")
    parser.add_argument("--limit", type=int, default=20, help="candidates a question (default: 20)")
    parser.add_argument("--metric", action="append", metavar="NAME", help=f"default: {', '.join(_METRICS)}")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write an HTML report, which holds the texts")
    parser.add_argument("--cache", type=Path, metavar="FOLDER", help="where answers are kept (default: your cache)")
    parser.add_argument("--fresh", action="store_true", help="ask everything again, and keep the new answers")
    parser.add_argument("--json", action="store_true", help="write JSON, for scripts")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from ksdk_rerank.commands.terminal import progress, write
    from ksdk_rerank.compose._fail_open import FailOpenStore
    from ksdk_rerank.evaluation import DiskStore, evaluate

    names = options.reranker or [default_name()]
    _check(options, names)
    with DiskStore(options.cache, read=not options.fresh) as disk, progress() as told:
        store = FailOpenStore(disk)
        queries, candidates, judgements = _material(options, store, told)
        evaluation = evaluate(
            names,
            queries,
            candidates,
            judgements,
            options.metric or _METRICS,
            store=store,
            progress=told,
        )
    unwritten = None
    if options.report is not None:  # before the table, whose reader (such as `head`) may exit early
        try:
            options.report.write_text(evaluation.to_html(), encoding="utf-8")
        except OSError as error:
            unwritten = error
    _show(evaluation, options)
    if unwritten is not None:
        raise OSError(f"--report {options.report} cannot be written: {unwritten.strerror}") from unwritten
    if options.report is not None and not options.json:
        write()
        write(f"Report: {options.report}")
    return 0 if any(row.metrics for row in evaluation.rerankers) else 1


def _check(options: argparse.Namespace, names: Sequence[str]) -> None:
    """Reject wrong options, metrics and reranker names before the first call."""
    from ksdk_rerank.evaluation.compare import contenders_among
    from ksdk_rerank.evaluation.metrics import measure_for

    if options.beir is not None and options.run_file is None:
        raise ValueError("--beir needs candidates: pass --run FILE, a TREC run")
    if options.beir is not None and (options.docs is not None or options.corpus is not None):
        raise ValueError("--beir brings its own documents: leave --docs and --corpus out")
    if options.beir is None and (options.run_file is None) != (options.corpus is None):
        raise ValueError("--run and --corpus belong together: the run's ids, and the texts that they stand for")
    if options.beir is None and options.qrels is not None:
        raise ValueError("--qrels goes with --beir; with --questions the answers say what is relevant")
    if options.docs is not None and options.run_file is not None:
        raise ValueError("the candidates come either from --docs or from --run: leave one out")
    if options.report is not None and (options.report.is_dir() or not options.report.absolute().parent.is_dir()):
        raise ValueError(f"--report {options.report} cannot be written: name a file in a folder that exists")
    measure_for(options.metric or _METRICS, [])
    contenders_among(names)


def _material(options: argparse.Namespace, store: Store, told: Progress | None) -> Material:
    """Load the queries, their candidates and the judgements."""
    from ksdk_rerank.commands.searching import candidates_for
    from ksdk_rerank.evaluation import read_beir, read_corpus, read_questions, read_run

    if options.beir is not None:
        beir = read_beir(options.beir, options.run_file, qrels=options.qrels, limit=options.limit)
        return beir.queries, beir.candidates, beir.judgements
    questions = read_questions(options.questions)
    if options.run_file is not None:
        candidates = read_run(options.run_file, read_corpus(options.corpus), limit=options.limit)
    else:
        asked = {id: query for id, query in questions.queries.items() if questions.answers[id]}
        candidates = candidates_for(asked, docs=options.docs, limit=options.limit, store=store, progress=told)
    return questions.queries, candidates, questions.answers


def _show(evaluation: Evaluation, options: argparse.Namespace) -> None:
    from ksdk_rerank.commands.terminal import show, write
    from ksdk_rerank.evaluation.tables import cells, notes, summary

    if options.json:
        write(evaluation.to_json())
        return
    write(summary(evaluation))
    write()
    heading, rows = cells(evaluation)
    dispensable = ["answered", "p95 ms", *reversed(evaluation.metrics[1:]), "win/loss/tie"]
    show(heading, rows, texts={"reranker"}, dispensable=dispensable)
    if said := notes(evaluation):
        write()
    for note in said:
        write(note)
