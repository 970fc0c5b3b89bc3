"""Serve many users on one event loop, as a web service does, with one client and one reranker for all of them.

The model is loaded before the first request, as in the lifespan of a FastAPI application.
"""

import asyncio
import json
from pathlib import Path

from ksdk_rerank import KnowledgeSDKClient, load_reranker
from ksdk_rerank.testing import KnowledgeSDKStandIn

KNOWLEDGE_BASE = Path(__file__).parent / "knowledge_base"
QUESTIONS = [json.loads(line) for line in (KNOWLEDGE_BASE / "questions.jsonl").read_text().splitlines()[:12]]

reranker = load_reranker("embedded")


async def handle(client: KnowledgeSDKClient, question: str) -> str | None:
    """Do the work of one request handler."""
    candidates = await client.asearch(question, limit=20)
    ranking = await reranker.arank(question, candidates.texts, top_n=3)
    return candidates[ranking[0].index].source


async def main() -> None:
    await reranker.awarm_up()
    with KnowledgeSDKStandIn(KNOWLEDGE_BASE) as server:
        async with KnowledgeSDKClient(server.api_key, base_url=server.base_url) as client:
            sources = await asyncio.gather(*(handle(client, item["question"]) for item in QUESTIONS))
    answered = sum(
        str(source).partition(".md")[0] in item["answers"] for item, source in zip(QUESTIONS, sources, strict=True)
    )
    print(f"{len(sources)} questions, {answered} with the right article first")


asyncio.run(main())
