"""`RerankEndpoint`: any server whose rerank API looks like that of Jina and Cohere."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlencode

from ksdk_rerank._arguments import text, text_or_none
from ksdk_rerank._transport.auth import ApiKey, HeaderKey
from ksdk_rerank._transport.urls import checked_url
from ksdk_rerank.rerankers._parsing import field_at, scores_by_index, usage_of
from ksdk_rerank.rerankers._plain_data import plain_data, plain_texts
from ksdk_rerank.rerankers._remote import RemoteReranker
from ksdk_rerank.scores import Scores
from ksdk_rerank.timeout import Timeout

if TYPE_CHECKING:
    import httpx
    from pydantic import SecretStr

__all__ = ["RerankEndpoint"]

_OURS = ("model", "query", "documents")
# Jina and most others; Cohere and LiteLLM; Cohere again; SiliconFlow. `tests/rerankers/replies` has the sources.
_BILLED = (("usage",), ("meta", "billed_units"), ("meta", "tokens"), ("tokens",))


class RerankEndpoint(RemoteReranker):
    """Any server or service whose rerank API looks like that of Jina and Cohere.

    Tested with the documented replies of llama.cpp, LocalAI, SGLang, Xinference, LiteLLM, OpenRouter, SiliconFlow,
    Together and Mixedbread, and with a running Infinity and LiteLLM. vLLM, Infinity, TEI, Cohere, Jina, Voyage and
    NVIDIA have classes of their own, which know more about them.

    Threads and event loops may share an instance. Constructing it does no I/O.

    Args:
        url: a host with or without a path prefix (`http://host:8080`), a versioned root
            (`https://openrouter.ai/api/v1`) or a full endpoint (`https://api.mixedbread.com/v1/reranking`). To a host,
            `/v1/rerank` is appended, to a version `/rerank`.
        model: the model's name; optional if the server has one model.
        api_key: needed only if the server requires one; sent as a bearer token.
        api_key_variable: an environment variable to read the key from if no `api_key` is passed. Use it for
            configurations and pickles, which never contain the key itself.
        scores: `"unit"` if the server's scores are in [0, 1], `"logit"` if they are logits, as from llama.cpp and
            LocalAI. `score` is then their sigmoid. A score outside [0, 1] that should be inside raises `BadReply`.
        documents_field: the request's field for the documents, such as `"input"` for Mixedbread.
        extra_headers: headers to add, such as `{"X-Title": "My app"}`.
        extra_body: fields to add to each request, such as `{"return_documents": False}`. Without it, a request contains
            only the model, the query and the documents. A limit such as `top_n` raises `BadReply`.
        extra_query: parameters to add to the URL's query.
        max_documents_per_request: a call with more documents is split into several requests, eight at a time, under one
            deadline; `usage` is the sum. None never splits, nor is a call to the listwise jina-reranker-v3 ever split.
        max_chars_per_document: truncate longer documents to this many characters before they are sent; counted in
            `Ranking.truncated`. None sends them whole.
        timeout: seconds per call, retries included, or a `Timeout`.
        retries: how many times to retry a transient failure, within that time.
        client_factory: returns a new `httpx.AsyncClient`, for proxies, certificates or secret headers of your own. It
            is called once per concurrent request; the clients are reused, and closed for you.
        max_concurrency: how many requests may be under way at once, as in `HostedReranker`. None sets no limit.

    Raises:
        MissingKey: `api_key_variable` is not set, and no `api_key` was passed.
        TypeError: an `extra_...` argument is not plain data.
        ValueError: another argument is malformed, or an `extra_...` argument seems to contain a secret: these arguments
            appear in `repr` and in configurations.

    The results are read from `results`, `data` or the reply itself, each with an `index` and a `relevance_score` or
    `score`. `usage` holds what the server reports as usage, billed units or tokens.
    """

    _service_name = "Rerank endpoint"
    _if_logits = 'pass scores="logit"'

    def __init__(
        self,
        url: str,
        model: str | None = None,
        *,
        api_key: str | SecretStr | None = None,
        api_key_variable: str | None = None,
        scores: Literal["unit", "logit"] = "unit",
        documents_field: str = "documents",
        extra_headers: Mapping[str, str] | None = None,
        extra_body: Mapping[str, object] | None = None,
        extra_query: Mapping[str, str] | None = None,
        max_documents_per_request: int | None = None,
        max_chars_per_document: int | None = None,
        timeout: float | Timeout = 30.0,
        retries: int = 2,
        client_factory: Callable[[], httpx.AsyncClient] | None = None,
        max_concurrency: int | None = None,
    ) -> None:
        if scores not in ("unit", "logit"):
            raise ValueError(f'scores must be "unit" or "logit", got {scores!r}')
        self.url = url
        self.model = text_or_none("model", model)
        self.api_key_variable = text_or_none("api_key_variable", api_key_variable)
        self.scores: Literal["unit", "logit"] = scores
        self.documents_field = text("documents_field", documents_field)
        self.extra_headers = plain_texts("extra_headers", extra_headers)
        self.extra_body = plain_data("extra_body", extra_body)
        self.extra_query = plain_texts("extra_query", extra_query)
        if clash := {*_OURS, documents_field} & (self.extra_body or {}).keys():
            raise ValueError(f"extra_body contains {min(clash)!r}, which every request contains already; leave it out")
        parts = checked_url(url)
        query = "&".join(filter(None, (parts.query, urlencode(self.extra_query or {}))))
        service = f"{self._service_name} at {parts.netloc}"
        variables = () if api_key_variable is None else (api_key_variable,)
        has_key = api_key is not None or api_key_variable is not None
        super().__init__(
            service,
            parts._replace(query=query),
            HeaderKey(ApiKey(api_key, service=service, variables=variables)) if has_key else None,
            scores == "logit",
            max_documents_per_request,
            max_chars_per_document,
            timeout,
            retries,
            client_factory,
            max_concurrency,
        )
        self._headers = self.extra_headers

    @property
    def name(self) -> str:
        return self._address if self.model is None else f"{self._address}#{self.model}"

    def _build(self, query: str, documents: Sequence[str]) -> dict[str, object]:
        return {"query": query, self.documents_field: list(documents), **(self.extra_body or {})}

    def _parse(self, data: object, count: int) -> Scores:
        results = data
        if isinstance(data, dict):
            results = data.get("results", data.get("data"))
        first = results[0] if isinstance(results, list) and results else None
        has_other_name = isinstance(first, dict) and "score" in first and "relevance_score" not in first
        scores = scores_by_index(results, count, field="score" if has_other_name else "relevance_score")
        return Scores(scores, usage=next(filter(None, (usage_of(field_at(data, path)) for path in _BILLED)), {}))
