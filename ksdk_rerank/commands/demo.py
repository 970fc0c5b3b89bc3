"""`ksdk-rerank demo`: show one question's results before and after reranking, side by side."""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from pathlib import Path

from ksdk_rerank._text.snippets import shortened
from ksdk_rerank.commands.options import add_reranker, as_text
from ksdk_rerank.loading import default_name

__all__ = ["add"]

_QUESTION = (
    "We logged e-mail addresses by mistake, how do I erase them from the stored events"
    " and keep it from happening again?"
)


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the `demo` command to the parser."""
    parser = commands.add_parser(
        "demo",
        help="search, rerank and show both orders side by side",
        description="Search, rerank, and show each document's rank before and after. Without options, this needs no"
        " files, no API key and no network: it searches a sample knowledge base.",
    )
    parser.add_argument("--question", type=as_text, help="the question (default: one about the sample knowledge base)")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--docs", type=Path, metavar="FOLDER", help="search this folder of Markdown or text files")
    source.add_argument("--live", action="store_true", help="search KnowledgeSDK itself (needs KNOWLEDGESDK_API_KEY)")
    add_reranker(parser)
    parser.add_argument("--limit", type=int, default=20, help="number of candidates to search for (default: 20)")
    parser.add_argument("--top-n", type=int, default=5, help="number of documents to show (default: 5)")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    from ksdk_rerank.commands.terminal import score_cell, show, write, write_highlighted
    from ksdk_rerank.commands.two_stages import search_and_rerank
    from ksdk_rerank.testing.sample import sample_folder

    is_sample = options.docs is None and not options.live
    if options.question is None and not is_sample:
        raise ValueError("--docs and --live need a question of your own: pass --question")
    question = _QUESTION if options.question is None else options.question
    reranker = options.reranker or default_name()
    docs = sample_folder() if is_sample else options.docs
    found = search_and_rerank(
        question,
        docs=docs,
        limit=options.limit,
        reranker=reranker,
        top_n=options.top_n,
        passages=all(map(find_spec, ("markdown_it", "sentencex"))),
    )
    searched = "the stand-in server over the sample knowledge base" if is_sample else found.searched
    if not found.candidates:
        write(f"{searched} found nothing for: {question}")
        return
    remark = "first call, including any loading"
    if reranker == "lexical":
        remark = 'BM25, no model; for a cross-encoder, pip install "ksdk-rerank[local]"'
    write(f"Question: {question}")
    write(f"First stage: {searched}, {found.candidates} candidates in {found.search_seconds * 1000:.0f} ms")
    write(f"Reranker: {found.reranked_by}, {found.rerank_seconds * 1000:.0f} ms ({remark})")
    write()
    rows = [
        [
            str(one.rank),
            str(one.was),
            score_cell(one.score),
            score_cell(one.hit.score),
            shortened(one.hit.title or one.hit.text, 70),
        ]
        for one in found.hits
    ]
    show(["new", "old", "score", "first stage", "title"], rows, texts={"title"})
    for one in found.hits:
        if one.passage is not None:
            write()
            write(f"Best passage of number {one.rank}: {shortened(one.passage, 200)}")
            write("The excerpt for the prompt:")
            write()
            write_highlighted(one.excerpt, one.passage)
            break
