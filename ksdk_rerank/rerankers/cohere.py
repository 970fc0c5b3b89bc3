"""`CohereReranker`: Cohere's hosted rerankers, through the official SDK."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import httpx

from ksdk_rerank._arguments import flag, integer_or_none, number
from ksdk_rerank._transport.json_reply import JsonReply
from ksdk_rerank.rerankers._cohere_sdk import Carrier, sdk_client
from ksdk_rerank.rerankers._hosted import HostedReranker
from ksdk_rerank.rerankers._parsing import spans_by_index
from ksdk_rerank.scores import Scores
from ksdk_rerank.timeout import Timeout

if TYPE_CHECKING:
    from pydantic import SecretStr

__all__ = ["CohereReranker"]


class CohereReranker(HostedReranker):
    """Cohere's hosted rerankers (https://docs.cohere.com/reference/rerank, read 2026-11-23).

    Needs `pip install "ksdk-rerank[cohere]"`: the official SDK, version 5.15 or later, 6 or 7. The SDK builds the
    request, and this library sends it over its own connections. So deadlines, retries, reply checks and errors are the
    same as for every other service. The SDK's own retries are off.

    Args:
        model: such as `"rerank-v5.0-pro"`, `"rerank-v5.0-fast"` (https://docs.cohere.com/changelog/rerank-v5, read
            2026-11-26), `"rerank-v4.0-pro"` or `"rerank-v3.5"`. Scores of different models are not comparable, so
            check `min_score` again when you change the model. `HostedReranker` documents the other arguments.
        api_key: by default from `CO_API_KEY` or `COHERE_API_KEY`.
        base_url: by default from `CO_API_URL`, else the hosted API. On a host or a versioned root, requests go to
            `/v2/rerank`.
        max_tokens_per_document: have the service truncate documents to this many tokens. By default it truncates to
            4096.
        max_documents_per_request: a call with more documents is split into several concurrent requests; None never
            splits. Cohere advises at most 1,000 and bills per hundred, so splitting there costs nothing extra. It
            accepts at most 10,000 (https://docs.cohere.com/docs/reranking-best-practices, read 2026-11-26).
        relevant_spans: ask for the relevant passages, as `Ranked.spans`. Needs Rerank v5 or later. A document in which
            the model finds none has no spans.
        span_threshold: return only passages with a score above this, in [0, 1]; None uses the service's default, 0.1.
        max_spans: maximum number of passages per document; None asks for all.

    Raises:
        MissingExtra: the SDK is not installed.

    `raw_score` is Cohere's `relevance_score`, in [0, 1], and `score` equals it. `usage` holds the billed units, such as
    `{"search_units": 1.0}`. Cohere does not report how many documents it truncated, so `Ranking.truncated` counts only
    those longer than `max_chars_per_document`.
    """

    _service_name = "Cohere"
    _default_model = "rerank-v3.5"
    _default_url = "https://api.cohere.com"  # https://docs.cohere.com/reference/rerank, read 2026-11-23
    _url_variable = "CO_API_URL"  # the SDK's own variable, which it reads only once, on import
    _domains = ("cohere.com", "cohere.ai")
    _key_variables = ("CO_API_KEY", "COHERE_API_KEY")  # in the SDK's order
    _below_host = "/v2/rerank"
    _below_version = None
    _billed = ("meta", "billed_units")

    def __init__(
        self,
        model: str | None = None,
        *,
        api_key: str | SecretStr | None = None,
        base_url: str | None = None,
        raw_scores: bool = False,
        max_tokens_per_document: int | None = None,
        max_documents_per_request: int | None = 1000,
        max_chars_per_document: int | None = None,
        relevant_spans: bool = False,
        span_threshold: float | None = None,
        max_spans: int | None = None,
        timeout: float | Timeout = 30.0,
        retries: int = 2,
        client_factory: Callable[[], httpx.AsyncClient] | None = None,
        max_concurrency: int | None = None,
    ) -> None:
        sdk_client()
        self.max_tokens_per_document = integer_or_none("max_tokens_per_document", max_tokens_per_document)
        self.relevant_spans = self.finds_passages = flag("relevant_spans", relevant_spans)
        self.span_threshold = None if span_threshold is None else number("span_threshold", span_threshold)
        self.max_spans = integer_or_none("max_spans", max_spans)
        if not self.relevant_spans and (span_threshold, max_spans) != (None, None):
            raise ValueError("span_threshold and max_spans need relevant_spans=True")
        if self.span_threshold is not None and not 0.0 <= self.span_threshold <= 1.0:
            raise ValueError(f"span_threshold must be between 0 and 1, got {span_threshold!r}")
        super().__init__(
            model,
            api_key=api_key,
            base_url=base_url,
            raw_scores=raw_scores,
            max_documents_per_request=max_documents_per_request,
            max_chars_per_document=max_chars_per_document,
            timeout=timeout,
            retries=retries,
            client_factory=client_factory,
            max_concurrency=max_concurrency,
        )

    def _build(self, query: str, documents: Sequence[str]) -> dict[str, object]:
        return {**super()._build(query, documents), "max_tokens_per_doc": self.max_tokens_per_document}

    def _parse(self, data: object, count: int) -> Scores:
        scores = super()._parse(data, count)
        if not self.relevant_spans:
            return scores
        return replace(scores, spans=spans_by_index(cast("dict[str, Any]", data)["results"], count))

    async def _send(self, body: dict[str, object]) -> JsonReply:
        carrier = Carrier(self._service, self._url)
        client = sdk_client()(
            "added-on-the-way",  # the SDK never holds the key, so its objects and messages cannot show it
            base_url=self._default_url,  # the SDK appends its own path, so the carrier sets the real URL, too
            client_name="ksdk-rerank",
            httpx_client=httpx.AsyncClient(transport=carrier),
            log_warning_experimental_features=False,
        )
        options: dict[str, object] = {"max_retries": 0}
        if self.relevant_spans:
            wanted = {"mode": "enabled", "threshold": self.span_threshold, "max_spans": self.max_spans}
            given = {name: value for name, value in wanted.items() if value is not None}
            options["additional_body_parameters"] = {"relevant_spans": given}  # also before 7.3, which names them
        await client.rerank(**body, request_options=options)
        assert carrier.reply is not None, "the SDK returned without sending a request"
        return carrier.reply
