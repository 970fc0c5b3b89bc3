"""Rerankers on your own servers: `TEIReranker`, `VLLMReranker` and `InfinityReranker`.

What they have in common:

- `url` is a host with or without a path prefix (`http://host:8080`, `http://host/prefix`), a versioned root
  (`http://host:8080/v1`) or a full endpoint. A path is a full endpoint if it ends in an endpoint's name (`/api/rerank`,
  `/score`) or in one name after a version (`/v1/anything`); it is used as is. To any other path the server's own
  endpoint is appended. A query string is kept, but one that seems to contain a secret is a `ValueError`.
- `model` is optional if the server has one model, and `api_key` if the server needs no key.
- `raw_score` is the server's score in [0, 1], computed in 32 bits. With `raw_scores=True` it is the logit, and `score`
  is its sigmoid in 64 bits, as with `CrossEncoderReranker`. Without it, a score outside [0, 1] raises `BadReply`, as it
  is probably a logit.
- The server truncates documents longer than the model's window, and does not report how many. `Ranking.truncated`
  counts only documents longer than the server accepts, which are truncated before they are sent.
- A call with more than `max_documents_per_request` documents is split into several requests, eight at a time, under one
  deadline. None never splits, which a listwise model such as jina-reranker-v3 requires. `usage` is the sum.
- `timeout` is seconds per call, retries included, or a `Timeout`. `retries` is how many times to retry a transient
  failure within that time.
- `client_factory` returns an `httpx.AsyncClient`. It is called once per concurrent request; the clients are reused, and
  closed for you.

Threads and event loops may share an instance. Constructing one does no I/O; a malformed URL or number is a
`ValueError`. An unpickled copy holds no key: it reads the environment variable that the server itself uses for its key.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ksdk_rerank.base import Scores
from ksdk_rerank.errors import NotFound, ServerError, ServiceError
from ksdk_rerank.rerankers._indexed import scores_by_index
from ksdk_rerank.rerankers._limits import Limits
from ksdk_rerank.rerankers._self_hosted import SelfHostedReranker
from ksdk_rerank.timeout import Timeout

if TYPE_CHECKING:
    import httpx
    from pydantic import SecretStr

__all__ = ["InfinityReranker", "TEIReranker", "VLLMReranker"]


def _error_of_424(body: str) -> type[ServiceError]:
    """TEI's status for every error of its backend (`rerank` in router/src/http/server.rs, read 2026-11-26).

    "model is not a re-ranker model" is permanent; after any other error a retry may succeed.
    """
    return NotFound if re.search(r"\bmodel is not an? ", body, re.IGNORECASE) else ServerError


class TEIReranker(SelfHostedReranker):
    """Hugging Face's Text Embeddings Inference (its docs/openapi.json, read 2026-11-23).

    Args:
        url: such as `"http://localhost:8080"`. The module docstring describes it and the arguments not listed here.
        model: a name for results and traces only. TEI serves one model and ignores the name.
        truncate: truncate documents to the model's window. If False, a longer document raises `BadRequest`.
        max_documents_per_request: the server's `--max-client-batch-size`, which is 32 by default
            (https://huggingface.co/docs/text-embeddings-inference/cli_arguments, read 2026-11-23).

    Requests stay below the server's default `--payload-limit` of 2,000,000 bytes (router/src/main.rs of
    huggingface/text-embeddings-inference, read 2026-11-26). Long documents are spread over several requests, unless
    `max_documents_per_request` is None. A text of more than 150,000 characters is truncated to that length.
    """

    _service_name = "TEI"
    _key_variable = "API_KEY"
    _below_version = None  # /v1 is TEI's embeddings API; reranking is at /rerank
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
        timeout: float | Timeout = 30.0,
        retries: int = 2,
        client_factory: Callable[[], httpx.AsyncClient] | None = None,
    ) -> None:
        super().__init__(url, model, api_key, raw_scores, max_documents_per_request, timeout, retries, client_factory)
        self.truncate = truncate

    def _build(self, query: str, documents: Sequence[str]) -> dict[str, object]:
        return self._body(query=query, texts=list(documents), truncate=self.truncate, raw_scores=self.raw_scores)

    def _parse(self, data: object, count: int) -> Scores:
        return Scores(scores_by_index(data, count, field="score"))  # sorted by score, best first


class VLLMReranker(SelfHostedReranker):
    """vLLM, 0.10 or later (`RerankRequest` in vllm/entrypoints/pooling/score/protocol.py, read 2026-11-23).

    Args:
        url: such as `"http://localhost:8000"`. The module docstring describes it and the arguments not listed here.
        model: the served model's name. Without it, vLLM uses the model it serves.
        truncate: truncate documents to the model's window. If False, a longer document raises `BadRequest`.
        raw_scores: request logits. vLLM always returns logits for a model configured without an activation, such as the
            official `cross-encoder/ms-marco-*`: pass True for these.
    """

    _service_name = "vLLM"
    _key_variable = "VLLM_API_KEY"
    _below_host = "/v1/rerank"

    def __init__(
        self,
        url: str,
        *,
        model: str | None = None,
        api_key: str | SecretStr | None = None,
        truncate: bool = True,
        raw_scores: bool = False,
        max_documents_per_request: int | None = None,
        timeout: float | Timeout = 30.0,
        retries: int = 2,
        client_factory: Callable[[], httpx.AsyncClient] | None = None,
    ) -> None:
        super().__init__(url, model, api_key, raw_scores, max_documents_per_request, timeout, retries, client_factory)
        self.truncate = truncate

    def _build(self, query: str, documents: Sequence[str]) -> dict[str, object]:
        return self._body(
            query=query,
            documents=list(documents),  # without top_n, all documents are returned
            truncate_prompt_tokens=-1 if self.truncate else None,  # -1 means the model's window
            use_activation=False if self.raw_scores else None,
        )


class InfinityReranker(SelfHostedReranker):
    """Infinity (https://michaelfeil.eu/infinity/, read 2026-11-23; checked against 0.0.77).

    Args:
        url: such as `"http://localhost:7997"`, including the server's `--url-prefix` if it has one. The module
            docstring describes it and the arguments not listed here.
        model: the served model's name. A server with a single model ignores it.
        max_documents_per_request: Infinity refuses more than its `INFINITY_MAX_CLIENT_BATCH_SIZE`, 2048 by default.

    Infinity refuses texts of more than 122,880 characters, so they are truncated to that length. (Both limits:
    `RerankInput` in infinity_emb 0.0.78, `fastapi_schemas/pymodels.py`, read 2026-11-26.)
    """

    _service_name = "Infinity"
    _key_variable = "INFINITY_API_KEY"
    _limits = Limits(characters=122_880)

    def __init__(
        self,
        url: str,
        *,
        model: str | None = None,
        api_key: str | SecretStr | None = None,
        raw_scores: bool = False,
        max_documents_per_request: int | None = 2048,
        timeout: float | Timeout = 30.0,
        retries: int = 2,
        client_factory: Callable[[], httpx.AsyncClient] | None = None,
    ) -> None:
        super().__init__(url, model, api_key, raw_scores, max_documents_per_request, timeout, retries, client_factory)

    def _build(self, query: str, documents: Sequence[str]) -> dict[str, object]:
        return self._body(query=query, documents=list(documents), raw_scores=self.raw_scores)
