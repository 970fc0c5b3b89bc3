"""`VLLMReranker`: rerankers on a vLLM server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ksdk_rerank._arguments import flag, integer_or_none, text_or_none
from ksdk_rerank.rerankers._self_hosted import SelfHostedReranker
from ksdk_rerank.timeout import Timeout

if TYPE_CHECKING:
    import httpx
    from pydantic import SecretStr

__all__ = ["VLLMReranker"]


class VLLMReranker(SelfHostedReranker):
    """vLLM, 0.10 or later (`RerankRequest` in vllm/entrypoints/pooling/score/protocol.py, read 2026-11-23).

    Args:
        url: such as `"http://localhost:8000"`. `SelfHostedReranker` documents the other arguments.
        model: the served model's name. Without it, vLLM uses the model it serves.
        raw_scores: request logits. vLLM always returns logits for a model configured without an activation, such as the
            official `cross-encoder/ms-marco-*`: pass True for these.
        instruction: what the model should prefer, such as `"Prefer official documentation"`. Needs vLLM 0.22
            (vllm/entrypoints/pooling/scoring/protocol.py has the field in 0.22.0 but not in 0.21.0, read 2026-11-26)
            and a model whose chat template has a place for it, such as Qwen3-Reranker. vLLM reports nothing if it
            ignores the field: an older server does, and so does any other model. `compare` shows whether it works.
        max_tokens_per_document: have the server truncate documents to this many tokens
            (https://github.com/vllm-project/vllm/pull/38827, April 2026). An older server ignores it.
    """

    _service_name = "vLLM"
    _key_variable = "VLLM_API_KEY"

    def __init__(
        self,
        url: str,
        *,
        model: str | None = None,
        api_key: str | SecretStr | None = None,
        truncate: bool = True,
        raw_scores: bool = False,
        instruction: str | None = None,
        max_tokens_per_document: int | None = None,
        max_documents_per_request: int | None = None,
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
        self.max_tokens_per_document = integer_or_none("max_tokens_per_document", max_tokens_per_document)
        self.instruction = text_or_none("instruction", instruction)

    def _build(self, query: str, documents: Sequence[str]) -> dict[str, object]:
        return {
            **super()._build(query, documents),
            "truncate_prompt_tokens": -1 if self.truncate else None,  # -1 means the model's window
            "use_activation": False if self.raw_scores else None,
            "instruction": self.instruction,
            "max_tokens_per_doc": self.max_tokens_per_document,
        }
