"""`JinaReranker`: Jina's hosted rerankers."""

from __future__ import annotations

from collections.abc import Sequence

from ksdk_rerank.rerankers._hosted import HostedReranker

__all__ = ["JinaReranker"]


class JinaReranker(HostedReranker):
    """Jina's hosted rerankers (https://jina.ai/reranker, read 2026-11-23).

    Args:
        model: such as `"jina-reranker-v2-base-multilingual"` (the default), `"jina-reranker-v3"` or
            `"jina-reranker-m0"`. `HostedReranker` documents the other arguments.
        api_key: by default from `JINA_API_KEY` or `JINAAI_API_KEY`.
        max_documents_per_request: Jina documents no limit, so the default, None, never splits.

    `raw_score` is Jina's `relevance_score`. The cross-encoders (v2, m0) return values in [0, 1]. v3 returns a cosine,
    which is negative for irrelevant documents (https://huggingface.co/jinaai/jina-reranker-v3, read 2026-11-23).
    Documents are ordered by the cosine; `score` is 0 if it is negative. `usage` holds the billed tokens.

    v3 is listwise: it reads all documents of a request together, so each score depends on the other documents.
    Comparing scores across calls therefore means less than with a cross-encoder.
    """

    _service_name = "Jina"
    _default_model = "jina-reranker-v2-base-multilingual"
    _default_url = "https://api.jina.ai/v1"  # https://jina.ai/reranker, read 2026-11-23
    _domains = ("jina.ai",)
    _key_variables = ("JINA_API_KEY", "JINAAI_API_KEY")

    def _build(self, query: str, documents: Sequence[str]) -> dict[str, object]:
        return {**super()._build(query, documents), "return_documents": False}
