"""`PostprocessorReranker`: LlamaIndex's node postprocessors that reorder, as rerankers."""

from __future__ import annotations

from collections.abc import Sequence

from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import MetadataMode, NodeWithScore, TextNode

from ksdk_rerank import ScoreKind
from ksdk_rerank.rerankers._bridge import BridgedReranker, Returned

__all__ = ["PostprocessorReranker"]


class PostprocessorReranker(BridgedReranker[NodeWithScore]):
    """Reranks with any LlamaIndex node postprocessor that reorders or filters, such as one that asks an LLM.

        Cached(PostprocessorReranker(LLMRerank(llm=llm, top_n=50), score_kind=ScoreKind.BOUNDED, upper_bound=10))

    Args:
        postprocessor: gets new nodes that contain the text and nothing else, without scores. Nodes that it leaves out
            come last, in input order and without a score, so set its `top_n` high enough.
        score_kind: what the `score` of its nodes means; in [0, 1] by default. None ignores it and keeps the
            postprocessor's order.
        upper_bound: the highest score, for `ScoreKind.BOUNDED`: a scale from 0, such as 10 for `LLMRerank`.

    If every node that comes back has a score, the ranking is sorted by it. Otherwise it keeps the postprocessor's
    order, without scores. A node that comes back twice counts once. A postprocessor that rewrites texts is accepted if
    it keeps the nodes' ids; the ranking has the original texts.

    Asynchronous calls use the postprocessor's own asynchronous method if it has one, else one of eight threads. There
    is no deadline but the postprocessor's own. Its exceptions are raised as `RerankError`s, by their HTTP status if
    they have one. A pickle contains the postprocessor, and `to_config` raises `TypeError`.
    """

    def __init__(
        self,
        postprocessor: BaseNodePostprocessor,
        *,
        score_kind: ScoreKind | None = ScoreKind.UNIT,
        upper_bound: float | None = None,
    ) -> None:
        if not isinstance(postprocessor, BaseNodePostprocessor):
            raise TypeError(f"postprocessor must be a BaseNodePostprocessor, got {type(postprocessor).__name__}")
        self.postprocessor = postprocessor
        super().__init__(postprocessor, score_kind, upper_bound)

    @property
    def _is_async(self) -> bool:
        own, base = type(self.postprocessor), BaseNodePostprocessor
        names = ("apostprocess_nodes", "_apostprocess_nodes")
        return any(getattr(own, name) is not getattr(base, name) for name in names)

    def _items(self, documents: Sequence[str]) -> list[NodeWithScore]:
        return [NodeWithScore(node=TextNode(text=text)) for text in documents]

    def _call(self, query: str, items: list[NodeWithScore]) -> Sequence[NodeWithScore]:
        return self.postprocessor.postprocess_nodes(items, query_str=query)

    async def _acall(self, query: str, items: list[NodeWithScore]) -> Sequence[NodeWithScore]:
        return await self.postprocessor.apostprocess_nodes(items, query_str=query)

    def _read(self, returned: Sequence[NodeWithScore], items: list[NodeWithScore]) -> list[Returned]:
        indices = {item.node.node_id: index for index, item in enumerate(items)}
        return [
            Returned(indices.get(item.node.node_id), item.node.get_content(MetadataMode.NONE), item.score)
            for item in returned
        ]
