"""`ksdk-rerank rank`: sort files, or lines of standard input, by relevance to a query."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from ksdk_rerank._text.text_files import decoded, printable, read_text
from ksdk_rerank.commands.options import add_reranker, as_text, configured
from ksdk_rerank.loading import default_name, load_reranker

__all__ = ["add"]

_log = logging.getLogger("ksdk_rerank")


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the `rank` command to the parser."""
    parser = commands.add_parser(
        "rank",
        help="sort files, or lines of standard input, by relevance",
        description="Sort files, or lines of standard input, by their relevance to a question, best first.",
    )
    parser.add_argument("query", type=as_text, help="the question that a document should answer")
    parser.add_argument(
        "files", nargs="+", metavar="FILE", help="one document per file; - reads standard input, one document per line"
    )
    add_reranker(parser)
    parser.add_argument("--top-n", type=int, help="number of documents to show (default: all)")
    parser.add_argument("--min-score", type=float, help="show only documents with at least this score, from 0 to 1")
    parser.add_argument("--json", action="store_true", help="write JSON, for scripts")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    from ksdk_rerank.commands.terminal import score_cell, show, write_json

    documents = [document for file in options.files for document in _documents(file)]
    names, texts = [name for name, _ in documents], [text for _, text in documents]
    with load_reranker(configured(options.reranker or default_name())) as reranker:
        ranking = reranker.rank(options.query, texts, top_n=options.top_n, min_score=options.min_score)
    if options.json:
        results = [
            {
                "rank": place,
                "index": hit.index,
                "name": names[hit.index],
                "score": hit.score,
                "raw_score": hit.raw_score,
            }
            for place, hit in enumerate(ranking, start=1)
        ]
        write_json(
            {
                "query": options.query,
                "reranked_by": ranking.reranked_by,
                "results": results,
                "usage": dict(ranking.usage),
                "truncated": ranking.truncated,
                "query_truncated": ranking.query_truncated,
            }
        )
        return
    rows = [[str(place), score_cell(hit.score), names[hit.index]] for place, hit in enumerate(ranking, start=1)]
    show(["rank", "score", "document"], rows, texts={"document"})


def _documents(file: str) -> list[tuple[str, str]]:
    """The names and texts of the documents in `file`. If the encoding is a guess, a warning is logged."""
    name = "standard input" if file == "-" else printable(file)
    try:
        text, guess = _standard_input() if file == "-" else read_text(Path(file))
    except ValueError as error:
        raise ValueError(f"{name} is not UTF-8 text but {error}; save it as UTF-8") from error
    if guess:
        _log.warning("%s is not UTF-8 text; it was decoded %s", name, guess)
    if file != "-":
        return [(name, text)]
    lines = text.removesuffix("\n").split("\n") if text else []
    return list(zip(lines, lines, strict=True))


def _standard_input() -> tuple[str, str]:
    binary = getattr(sys.stdin, "buffer", None)
    return (sys.stdin.read(), "") if binary is None else decoded(binary.read())
