"""Rerankers on servers of your own: `TEIReranker`, `VLLMReranker` and `InfinityReranker`.

What they have in common:

- `url` is a host, with or without a prefix (`http://host:8080`, `http://host/prefix`), a versioned root
  (`http://host:8080/v1`) or a whole address. A path that ends in the name of an endpoint (`/api/rerank`, `/score`), or
  in one name after a version (`/v1/anything`), is a whole address and is asked as it is; to others the server's own
  path is appended. A query stays, unless something in it looks like a secret.
- `model` may be left out if the server has one model, and `api_key` if it wants none.
- `raw_score` is the server's score in [0, 1], which it calculates in 32 bits. With `raw_scores=True` it is the logit,
  and `score` is its sigmoid in 64 bits, as with `CrossEncoderReranker`. A score outside [0, 1] is a `BadReply` without
  `raw_scores=True`, as it is likely a logit.
- A document longer than the model's window is cut by the server. The servers do not say how many were, so
  `Ranking.truncated` counts only those that were longer than the server accepts, and cut here.
- More than `max_documents_per_request` documents are sent as several requests, eight at a time, within one deadline;
  None never splits, as a listwise model such as jina-reranker-v3 wants it. `usage` is the sum.
- `timeout` is seconds for the whole call with its retries, or a `Timeout`; `retries` is how many more attempts a
  transient failure gets within it; `client_factory` makes an `httpx.AsyncClient`, once for each request that is under
  way at a time, and what it makes is closed.

They may be shared between threads and event loops. Constructing one does no I/O; a malformed URL or number is a
`ValueError`. A copy out of a pickle holds no key and reads it from the variable in which the server itself has it.
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
    """TEI's status for all that its backend says (`rerank` in router/src/http/server.rs, read 2026-11-26).

    "model is not a re-ranker model" stays so; another inference may succeed.
    """
    return NotFound if re.search(r"\bmodel is not an? ", body, re.IGNORECASE) else ServerError


class TEIReranker(SelfHostedReranker):
    """Hugging Face's Text Embeddings Inference (its docs/openapi.json, read 2026-11-23).

    Args:
        url: such as `"http://localhost:8080"`; see this module for it and for what is not listed here.
        model: a name for results and traces; TEI serves one model and reads no name.
        truncate: cut documents to the model's window; False makes a longer one a `BadRequest`.
        max_documents_per_request: the server's `--max-client-batch-size`, which is 32 by default
            (https://huggingface.co/docs/text-embeddings-inference/cli_arguments, read 2026-11-23).

    A request stays below the server's default `--payload-limit` of 2,000,000 bytes (router/src/main.rs of
    huggingface/text-embeddings-inference, read 2026-11-26): long documents go in several requests, and a text of more
    than 150,000 characters is cut to that.
    """

    _service_name = "TEI"
    _key_variable = "API_KEY"
    _below_version = None  # /v1 is its embeddings API; reranking is at /rerank
    _error_of_status = {424: _error_of_424}  # noqa: RUF012
    # JSON makes 6 bytes of a character at most, so a query and a document fit into a request whatever is in them.
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
        url: such as `"http://localhost:8000"`; see this module for it and for what is not listed here.
        model: the served model's name; left out, vLLM takes the one it serves.
        truncate: cut documents to the model's window; False makes a longer one a `BadRequest`.
        raw_scores: ask for logits. For a model whose configuration has no activation, as the official
            `cross-encoder/ms-marco-*` have, vLLM's scores are logits in any case: say True for these.
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
            documents=list(documents),  # without top_n all are returned
            truncate_prompt_tokens=-1 if self.truncate else None,  # -1 is the model's window
            use_activation=False if self.raw_scores else None,
        )


class InfinityReranker(SelfHostedReranker):
    """Infinity (https://michaelfeil.eu/infinity/, read 2026-11-23; checked against 0.0.77).

    Args:
        url: such as `"http://localhost:7997"`, with the server's `--url-prefix` if it has one; see this module for it
            and for what is not listed here.
        model: the served model's name; a server with one model takes it whatever is said here.
        max_documents_per_request: Infinity refuses more than its `INFINITY_MAX_CLIENT_BATCH_SIZE`, 2048 by default.

    A text of more than 122,880 characters, which Infinity refuses, is cut to that. (Both limits: `RerankInput` in
    infinity_emb 0.0.78, `fastapi_schemas/pymodels.py`, read 2026-11-26.)
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
