"""The demo: one question, the first stage's order beside the reranker's, and the time each stage took."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ksdk_rerank import Ranking, SearchResults, load_reranker
from ksdk_rerank._text.snippets import shortened
from ksdk_rerank.knowledgesdk import KnowledgeSDKClient
from ksdk_rerank.loading import default_name
from ksdk_rerank.testing import KnowledgeSDKStandIn

__all__ = ["run_demo"]

_QUESTION = (
    "We logged e-mail addresses by mistake, how do I erase them from the stored events"
    " and keep it from happening again?"
)
_PACKAGE = Path(__file__).parent
_SAMPLES = (_PACKAGE / "knowledge_base", _PACKAGE.parent / "examples" / "knowledge_base")  # in a wheel, in a checkout


def run_demo(
    *,
    question: str | None,
    docs: Path | None,
    live: bool,
    reranker: str | None,
    limit: int,
    top_n: int,
    write: Callable[[str], None],
) -> None:
    """Search for `question`, rerank, and `write` a table of new rank, old rank, both scores and title.

    With `live`, the candidates come from KnowledgeSDK itself. Otherwise a stand-in searches the folder `docs`, or the
    sample knowledge base if `docs` is None. Without a name, the reranker is the embedded model, or BM25 if no engine
    that runs it is installed.

    Raises:
        ValueError: `docs` or `live` comes without a `question`, since the built-in one fits only the sample knowledge
            base; or that is not installed.
    """
    if question is None:
        if docs is not None or live:
            raise ValueError("what should be asked? pass --question with --docs and --live")
        question = _QUESTION
    reranker = reranker or default_name()
    ranker = load_reranker(reranker)
    with _first_stage(docs, live) as (client, where):
        started = time.perf_counter()
        candidates = client.search(question, limit)
        searched = time.perf_counter() - started
    if not candidates:
        write(f"{where} found nothing for: {question}")
        return
    texts = [f"{hit.title}\n{hit.text}" if hit.title else hit.text for hit in candidates]
    started = time.perf_counter()
    with ranker:
        ranking = ranker.rank(question, texts, top_n=top_n)
        ranked = time.perf_counter() - started

    write(f"Question: {question}")
    write(f"First stage: {where}, {len(candidates)} candidates in {searched * 1000:.0f} ms")
    write(f"Reranker: {ranking.reranked_by}, {ranked * 1000:.0f} ms{_remark(reranker)}")
    write("")
    for line in _table(candidates, ranking):
        write(line)


@contextmanager
def _first_stage(docs: Path | None, live: bool) -> Iterator[tuple[KnowledgeSDKClient, str]]:
    if live:
        with KnowledgeSDKClient() as client:
            yield client, f"KnowledgeSDK ({client.url})"
        return
    folder = docs or next((sample for sample in _SAMPLES if sample.is_dir()), None)
    if folder is None:
        raise ValueError("the sample knowledge base is not installed; pass --docs FOLDER with files of your own")
    where = f"the stand-in server over {docs or 'the sample knowledge base'}"
    with (
        KnowledgeSDKStandIn(folder) as stand_in,
        KnowledgeSDKClient(stand_in.api_key, base_url=stand_in.base_url) as client,
    ):
        yield client, where


def _remark(reranker: str) -> str:
    if reranker != "lexical":
        return " (the first call, which loads the model where there is one to load)"
    return ' (BM25, no model; a cross-encoder comes with pip install "ksdk-rerank[local]")'


def _table(candidates: SearchResults, ranking: Ranking) -> Iterator[str]:
    yield "new  old   score  first stage  title"
    yield "---  ---  ------  -----------  -----"
    for position, ranked in enumerate(ranking, start=1):
        hit = candidates[ranked.index]
        title = shortened(hit.title or hit.text, 70)
        score = f"{_number(ranked.score):>6}  {_number(hit.score):>11}"
        yield f"{position:>3}  {ranked.index + 1:>3}  {score}  {title}"


def _number(score: float | None) -> str:
    return "-" if score is None else f"{score:.3f}"
