"""`ksdk-rerank rank`: put files, or lines, in order."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ksdk_rerank.loading import default_name, load_reranker

__all__ = ["add"]


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("rank", help="put files, or lines of standard input, in order of relevance")
    parser.add_argument("query", help="what the best document should answer")
    parser.add_argument("files", nargs="+", metavar="FILE", help="a document each; - reads one document a line")
    parser.add_argument(
        "--reranker", metavar="NAME", help="a name of load_reranker (default: embedded where it can run, else lexical)"
    )
    parser.add_argument("--top-n", type=int, help="documents to show (default: all)")
    parser.add_argument("--min-score", type=float, help="show only documents that score at least this, in [0, 1]")
    parser.add_argument("--json", action="store_true", help="write JSON, for scripts")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    from ksdk_rerank.commands.terminal import number, show, write_json

    documents = [document for file in options.files for document in _documents(file)]
    names, texts = [name for name, _ in documents], [text for _, text in documents]
    with load_reranker(options.reranker or default_name()) as reranker:
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
    rows = [[str(place), number(hit.score), names[hit.index]] for place, hit in enumerate(ranking, start=1)]
    show(["rank", "score", "document"], rows, texts={"document"})


def _documents(file: str) -> list[tuple[str, str]]:
    if file == "-":
        lines = [line.rstrip("\r\n") for line in sys.stdin]
        return list(zip(lines, lines, strict=True))
    try:
        return [(file, Path(file).read_text(encoding="utf-8-sig"))]
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not UTF-8 text ({error.reason}); save it as UTF-8") from error
