"""`ksdk-rerank search`: search, rerank, and show each result's new and old rank."""

from __future__ import annotations

import argparse
from pathlib import Path

from ksdk_rerank._request import RankRequest
from ksdk_rerank._text.snippets import shortened
from ksdk_rerank.commands.streams import asked
from ksdk_rerank.loading import default_name, load_reranker

__all__ = ["add"]


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the `search` command to the parser."""
    parser = commands.add_parser("search", help="search KnowledgeSDK or a folder, and rerank what it finds")
    parser.add_argument("query", type=asked, help="what to look for")
    parser.add_argument(
        "--reranker", metavar="NAME", help="a name of load_reranker (default: embedded where it can run, else lexical)"
    )
    parser.add_argument("--docs", type=Path, metavar="FOLDER", help="search this folder of Markdown or text instead")
    parser.add_argument("--limit", type=int, default=20, help="candidates to search for (default: 20)")
    parser.add_argument("--top-n", type=int, default=5, help="documents to show (default: 5)")
    parser.add_argument("--json", action="store_true", help="write JSON with the documents' texts, for scripts")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    from ksdk_rerank.commands.searching import first_stage
    from ksdk_rerank.commands.terminal import number, show, write, write_json

    with load_reranker(options.reranker or default_name()) as reranker, first_stage(options.docs) as client:
        RankRequest.checked(options.query, (), options.top_n, None)  # reject wrong arguments before the search
        hits = client.search(options.query, options.limit)
        texts = [f"{hit.title}\n{hit.text}" if hit.title else hit.text for hit in hits]
        ranking = reranker.rank(options.query, texts, top_n=options.top_n)
    found = [(place, ranked, hits[ranked.index]) for place, ranked in enumerate(ranking, start=1)]
    if options.json:
        results = [
            {
                "rank": place,
                "first_stage_rank": ranked.index + 1,
                "id": hit.id,
                "title": hit.title,
                "source": hit.source,
                "relevance_score": ranked.score,
                "retrieval_score": hit.score,
                "text": hit.text,
            }
            for place, ranked, hit in found
        ]
        write_json({"query": options.query, "reranked_by": ranking.reranked_by, "results": results})
        return
    if not found:
        write(f"{client.url} found nothing for: {options.query}")
        return
    rows = [
        [
            str(place),
            str(ranked.index + 1),
            number(ranked.score),
            hit.title or shortened(hit.text, 70),
            hit.source or "",
        ]
        for place, ranked, hit in found
    ]
    show(["rank", "was", "score", "title", "source"], rows, texts={"title", "source"})
