"""`ksdk-rerank search`: search, rerank, and show each result's new and old rank."""

from __future__ import annotations

import argparse
from pathlib import Path

from ksdk_rerank._text.snippets import shortened
from ksdk_rerank.commands.options import add_reranker, as_text
from ksdk_rerank.loading import default_name

__all__ = ["add"]


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the `search` command to the parser."""
    parser = commands.add_parser(
        "search",
        help="search KnowledgeSDK or a folder, and rerank the results",
        description="Search KnowledgeSDK (needs KNOWLEDGESDK_API_KEY) or a folder, and rerank the results.",
    )
    parser.add_argument("query", type=as_text, help="what to search for")
    add_reranker(parser)
    parser.add_argument(
        "--docs",
        type=Path,
        metavar="FOLDER",
        help="search this folder of Markdown or text files instead of KnowledgeSDK",
    )
    parser.add_argument("--limit", type=int, default=20, help="number of candidates to search for (default: 20)")
    parser.add_argument("--top-n", type=int, default=5, help="number of documents to show (default: 5)")
    parser.add_argument("--json", action="store_true", help="write JSON, including the documents' texts, for scripts")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    from ksdk_rerank.commands.terminal import score_cell, show, write, write_json
    from ksdk_rerank.commands.two_stages import search_and_rerank

    found = search_and_rerank(
        options.query,
        docs=options.docs,
        limit=options.limit,
        reranker=options.reranker or default_name(),
        top_n=options.top_n,
    )
    if options.json:
        results = [
            {
                "rank": one.rank,
                "first_stage_rank": one.was,
                "id": one.hit.id,
                "title": one.hit.title,
                "source": one.hit.source,
                "relevance_score": one.score,
                "retrieval_score": one.hit.score,
                "text": one.hit.text,
            }
            for one in found.hits
        ]
        write_json({"query": options.query, "reranked_by": found.reranked_by, "results": results})
    elif not found.hits:
        write(f"{found.searched} found nothing for: {options.query}")
    else:
        rows = [
            [
                str(one.rank),
                str(one.was),
                score_cell(one.score),
                one.hit.title or shortened(one.hit.text, 70),
                one.hit.source or "",
            ]
            for one in found.hits
        ]
        show(["rank", "was", "score", "title", "source"], rows, texts={"title", "source"})
