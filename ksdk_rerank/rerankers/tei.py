"""`TEIReranker`: rerankers on Hugging Face's Text Embeddings Inference."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ksdk_rerank._arguments import flag
from ksdk_rerank.errors import NotFound, ServerError, ServiceError
from ksdk_rerank.rerankers._limits import Limits
from ksdk_rerank.rerankers._self_hosted import SelfHostedReranker
from ksdk_rerank.timeout import Timeout

if TYPE_CHECKING:
    import httpx
    from pydantic import SecretStr

__all__ = ["TEIReranker"]


def _error_of_424(body: str) -> type[ServiceError]:
    """TEI's status for every error of its backend (`rerank` in router/src/http/server.rs, read 2026-11-26).

    "model is not a re-ranker model" is permanent; after any other error a retry may succeed.
    """
    return NotFound if re.search(r"\bmodel is not an? ", body, re.IGNORECASE) else ServerError


class TEIReranker(SelfHostedReranker):
    """Hugging Face's Text Embeddings Inference (its docs/openapi.json, read 2026-11-23).

    Args:
        url: such as `"http://localhost:8080"`. `SelfHostedReranker` documents the other arguments.
        model: a name for results and traces only. TEI serves one model and ignores the name.
        max_documents_per_request: the server's `--max-client-batch-size`, which is 32 by default
            (https://huggingface.co/docs/text-embeddings-inference/cli_arguments, read 2026-11-23).

    Requests stay below the server's default `--payload-limit` of 2,000,000 bytes (router/src/main.rs of
    huggingface/text-embeddings-inference, read 2026-11-26). Long documents are spread over several requests, unless
    `max_documents_per_request` is None. A text of more than 150,000 characters is truncated to that length.
    """

    _service_name = "TEI"
    _key_variable = "API_KEY"
    _below_host = "/rerank"
    _below_version = None  # /v1 is TEI's embeddings API; reranking is at /rerank
    _results = ()
    _score = "score"
    _error_of_status = {424: _error_of_424}  # noqa: RUF012
    # A character takes at most 6 bytes in JSON, so one query and one document always fit into a request.
    _limits = Limits(characters=150_000, request_bytes=2_000_000)

    def __init__(
        self,
        url: str,
        *,
        model: str | None = None,
        api_key: str | SecretStr | None = None,
        truncate: bool = True,
        raw_scores: bool = False,
        max_documents_per_request: int | None = 32,
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
        self.truncate = flag("truncate", truncate)

    def _build(self, query: str, documents: Sequence[str]) -> dict[str, object]:
        return {
            "query": query,
            "texts": list(documents),
            "truncate": self.truncate,
            "raw_scores": self.raw_scores,
        }
