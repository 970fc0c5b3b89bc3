"""`InfinityReranker`: rerankers on an Infinity server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ksdk_rerank.rerankers._limits import Limits
from ksdk_rerank.rerankers._self_hosted import SelfHostedReranker
from ksdk_rerank.timeout import Timeout

if TYPE_CHECKING:
    import httpx
    from pydantic import SecretStr

__all__ = ["InfinityReranker"]


class InfinityReranker(SelfHostedReranker):
    """Infinity (https://michaelfeil.eu/infinity/, read 2026-11-23; checked against 0.0.77).

    Args:
        url: such as `"http://localhost:7997"`, including the server's `--url-prefix` if it has one.
            `SelfHostedReranker` documents the other arguments.
        model: the served model's name. A server with a single model ignores it.
        max_documents_per_request: Infinity refuses more than its `INFINITY_MAX_CLIENT_BATCH_SIZE`, 2048 by default.

    Infinity refuses texts of more than 122,880 characters, so they are truncated to that length. (Both limits:
    `RerankInput` in infinity_emb 0.0.78, `fastapi_schemas/pymodels.py`, read 2026-11-26.)
    """

    _service_name = "Infinity"
    _key_variable = "INFINITY_API_KEY"
    _below_host = "/rerank"
    _limits = Limits(characters=122_880)

    def __init__(
        self,
        url: str,
        *,
        model: str | None = None,
        api_key: str | SecretStr | None = None,
        raw_scores: bool = False,
        max_documents_per_request: int | None = 2048,
        max_chars_per_document: int | None = None,
        timeout: float | Timeout = 30.0,
        retries: int = 2,
        client_factory: Callable[[], httpx.AsyncClient] | None = None,
    ) -> None:
        super().__init__(
            url,
            model,
            api_key,
            raw_scores,
            max_documents_per_request,
            max_chars_per_document,
            timeout,
            retries,
            client_factory,
        )

    def _build(self, query: str, documents: Sequence[str]) -> dict[str, object]:
        return {**super()._build(query, documents), "raw_scores": self.raw_scores}
