"""`VoyageReranker`: Voyage AI's hosted rerankers."""

from __future__ import annotations

from ksdk_rerank.rerankers._hosted import HostedReranker
from ksdk_rerank.rerankers._limits import Limits

__all__ = ["VoyageReranker"]


class VoyageReranker(HostedReranker):
    """Voyage AI's hosted rerankers (https://docs.voyageai.com/reference/reranker-api, read 2026-11-27).

    Args:
        model: such as `"rerank-2.5"` (the default) or `"rerank-2.5-lite"`. `HostedReranker` documents the other
            arguments.
        api_key: by default from `VOYAGE_API_KEY`.
        max_documents_per_request: by default 1,000, the most that Voyage accepts. A call is also split so that no
            request exceeds 600,000 tokens. Voyage bills by the token, so splitting costs nothing extra.

    `raw_score` is Voyage's `relevance_score`, in [0, 1]. `usage` holds the billed tokens. Voyage truncates a query of
    more than 8,000 tokens, and a document that exceeds 32,000 tokens with the query, without reporting it.
    """

    _service_name = "Voyage"
    _default_model = "rerank-2.5"
    _default_url = "https://api.voyageai.com/v1"
    _domains = ("voyageai.com",)
    _key_variables = ("VOYAGE_API_KEY",)
    _results = ("data",)
    # https://docs.voyageai.com/reference/reranker-api, read 2026-11-27; the 2.5 and 2 families
    _limits = Limits(documents=1000, request_tokens=600_000)
