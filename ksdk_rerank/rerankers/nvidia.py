"""`NVIDIAReranker`: NVIDIA's rerankers, hosted or in a NIM container of your own."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from ksdk_rerank.rerankers._hosted import HostedReranker
from ksdk_rerank.rerankers._limits import Limits
from ksdk_rerank.scores import ScoreKind

__all__ = ["NVIDIAReranker"]


class NVIDIAReranker(HostedReranker):
    """NVIDIA's rerankers, hosted or in a NIM container of your own.

    Follows https://docs.nvidia.com/nim/nemo-retriever/text-reranking/latest/using-reranking.html (read 2026-11-27).

    Args:
        model: such as `"nvidia/llama-nemotron-rerank-1b-v2"` (the default). `HostedReranker` documents the other
            arguments.
        api_key: by default from `NVIDIA_API_KEY`.
        base_url: your container, such as `"http://localhost:8000"`; requests go to its `/v1/ranking`. By default the
            hosted API, where each model has a URL of its own.
        raw_scores: changes nothing, because the scores are always logits.
        max_documents_per_request: by default 512, the most that a container accepts.

    `raw_score` is a logit, and `score` its sigmoid. A pair that exceeds the model's window is truncated, which NVIDIA
    does not report. `usage` holds the tokens, if the reply does.
    """

    score_kind = ScoreKind.LOGIT
    _service_name = "NVIDIA"
    _default_model = "nvidia/llama-nemotron-rerank-1b-v2"
    _domains = ("nvidia.com",)
    _key_variables = ("NVIDIA_API_KEY",)
    _below_host = "/v1/ranking"
    _below_version = "/ranking"
    _results = ("rankings",)
    _score = "logit"
    # https://docs.nvidia.com/nim/nemo-retriever/reranking/2.4/use-the-api-openai.html, read 2026-11-27
    _limits = Limits(documents=512)

    def _adapt_to_model(self) -> None:
        # As in langchain-nvidia-ai-endpoints 1.5.0, `_statics.py`, read 2026-11-27: "llama-3.2-..." is "llama-3_2-..."
        path = quote(self.model.replace(".", "_"))
        self._default_url = f"https://ai.api.nvidia.com/v1/retrieval/{path}/reranking"

    def _build(self, query: str, documents: Sequence[str]) -> dict[str, object]:
        return {"query": {"text": query}, "passages": [{"text": text} for text in documents], "truncate": "END"}
