"""`RerankPostprocessor`: any `Reranker` as a LlamaIndex node postprocessor."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from llama_index.core.bridge.pydantic import (
    PrivateAttr,
    StrictInt,
    ValidationError,
    field_serializer,
    field_validator,
)
from llama_index.core.callbacks.schema import CBEventType, EventPayload
from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import BaseNode, MetadataMode, NodeWithScore, QueryBundle

from ksdk_rerank import Ranking, Reranker, from_config, load_reranker, to_config
from ksdk_rerank.errors import MissingKey

__all__ = ["RerankPostprocessor"]

dispatcher = get_dispatcher(__name__)

_SCORE_KEYS = ("relevance_score", "retrieval_score", "reranked_by")


class RerankPostprocessor(BaseNodePostprocessor):
    """Puts the nodes that answer the query first, and keeps the best `top_n` of them.

    It goes into `node_postprocessors` of a query or chat engine; `postprocess_nodes(nodes, query_str=...)` works too.
    It may be shared between threads, event loops and engines.

    Args:
        reranker: a `Reranker`, or a name that `ksdk_rerank.load_reranker` knows, such as `"lexical"`. Pass a `Reranker`
            where you want to `close` it.
        top_n: how many nodes to keep at most; None keeps all, in their new order.
        min_score: keep only nodes whose relevance, in [0, 1], is at least this. It is applied before `top_n`, and
            not at all where the reranker gives no scores.
        metadata_mode: which of a node's metadata the reranker reads beside the text; by default what an embedding
            model reads.
        callback_manager: for legacy callbacks; query and chat engines put in their own.

    The nodes that come back are copies, best first; those that went in, and the nodes of the index behind them, stay
    as they are. Ids, relationships and node classes are kept. `NodeWithScore.score` is the relevance in [0, 1], higher
    is better, and `node.metadata` says more:

    - `relevance_score`: the same relevance;
    - `retrieval_score`: the score that the node came with, if any; a second reranker leaves it as it is;
    - `reranked_by`: the name of the reranker.

    None of the three reaches an LLM prompt, an embedding or a later reranker; only `MetadataMode.ALL` shows them.

    Where there is no score, `NodeWithScore.score` and `relevance_score` are None, never made up: for every node under
    `InputOrder`, and for nodes without text of their own, such as images, which come last and which `min_score` drops.
    LlamaIndex's `SimilarityPostprocessor` drops nodes without a score; its response synthesizers do not look.

    A reranking reports `ReRankStartEvent`, `ReRankEndEvent`, the legacy `RERANKING` callback and one span; each start
    has its end also without nodes and on failure, where the end event has no nodes. What else the `Ranking` says
    (`usage`, `failures`, `truncated` and so on) is in the end event's `tags` and the callback's `ADDITIONAL_KWARGS`.
    `to_dict` and pickle keep the reranker's options, never its key, and no callbacks. `to_dict` raises for a reranker
    that `ksdk_rerank.to_config` cannot write: `to_dict(exclude={"reranker"})` and `from_dict(data, reranker=...)` then.

    Raises:
        ValueError: `top_n` is less than 1, `min_score` is outside [0, 1], or no reranker goes by the name; on use,
            there is no query or a blank one.
        MissingKey: the name or the configuration is that of a hosted reranker, and its key is not in the environment.
        RerankError: the reranker failed; see `ksdk_rerank.errors`.
    """

    reranker: Reranker | str
    top_n: StrictInt | None = 5
    min_score: float | None = None
    metadata_mode: MetadataMode = MetadataMode.EMBED

    _loaded: dict[str, Reranker] = PrivateAttr(default_factory=dict)

    if not TYPE_CHECKING:  # type checkers know the fields, and need no signature that hides them

        def __init__(self, **data: Any) -> None:
            try:
                super().__init__(**data)
            except ValidationError as error:  # pydantic makes one of every ValueError, which MissingKey is as well
                for each in error.errors():
                    if isinstance(missing := each.get("ctx", {}).get("error"), MissingKey):
                        raise missing from None
                raise

    def model_post_init(self, context: object, /) -> None:
        # Without documents `rank` checks its arguments and does nothing else.
        self._reranker().rank("any query", (), top_n=self.top_n, min_score=self.min_score)

    @classmethod
    def class_name(cls) -> str:
        return "RerankPostprocessor"

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        # The base class opens the span here, because the method is abstract there.
        query = _checked_query(query_bundle)
        with self._reported(nodes, query) as done:
            return done(self._reranker().rank(*self._asked(nodes, query), top_n=self.top_n, min_score=self.min_score))

    @dispatcher.span
    async def _apostprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        query = _checked_query(query_bundle)
        with self._reported(nodes, query) as done:
            asked = self._asked(nodes, query)
            return done(await self._reranker().arank(*asked, top_n=self.top_n, min_score=self.min_score))

    def _reranker(self) -> Reranker:
        """`reranker`, built once a name; so it may also be assigned to, as every field."""
        if isinstance(self.reranker, Reranker):
            return self.reranker
        if self.reranker not in self._loaded:
            self._loaded[self.reranker] = load_reranker(self.reranker)
        return self._loaded[self.reranker]

    def _asked(self, nodes: Sequence[NodeWithScore], query: QueryBundle) -> tuple[str, list[str]]:
        return query.query_str, [_text(scored.node, self.metadata_mode) for scored in nodes]

    @contextmanager
    def _reported(
        self, nodes: list[NodeWithScore], query: QueryBundle
    ) -> Iterator[Callable[[Ranking], list[NodeWithScore]]]:
        """One reranking in LlamaIndex's two event systems. What it yields makes nodes of a ranking and reports both."""
        reranked: list[NodeWithScore] = []
        said: dict[str, Any] = {}

        def done(ranking: Ranking) -> list[NodeWithScore]:
            said.update(ranking.details())
            reranked.extend(_scored_copy(nodes[hit.index], hit.score, ranking.reranked_by) for hit in ranking)
            return reranked

        model_name = self._reranker().name
        top_n = len(nodes) if self.top_n is None else self.top_n
        payload: dict[str, Any] = {EventPayload.NODES: nodes, EventPayload.MODEL_NAME: model_name}
        payload |= {EventPayload.QUERY_STR: query.query_str, EventPayload.TOP_K: top_n}
        dispatcher.event(ReRankStartEvent(query=query, nodes=nodes, top_n=top_n, model_name=model_name))
        try:
            with self.callback_manager.event(CBEventType.RERANKING, payload=payload) as event:
                yield done
                event.on_end(payload={EventPayload.NODES: reranked, EventPayload.ADDITIONAL_KWARGS: said})
        finally:
            dispatcher.event(ReRankEndEvent(nodes=reranked, tags=said))

    @field_validator("reranker", mode="before")
    @classmethod
    def _from_config(cls, reranker: object) -> object:
        return from_config(reranker) if isinstance(reranker, Mapping) else reranker

    @field_serializer("reranker")
    def _to_config(self, reranker: Reranker | str) -> str | dict[str, object]:
        return reranker if isinstance(reranker, str) else to_config(reranker)

    def __reduce__(self) -> tuple[Any, ...]:
        # Not as the base class does: what it cannot pickle it deletes, from this very object too, and only logs that.
        state = {name: getattr(self, name) for name in type(self).model_fields if name != "callback_manager"}
        return partial(type(self), **state), ()


def _checked_query(query_bundle: QueryBundle | None) -> QueryBundle:
    if query_bundle is None:
        raise ValueError("reranking needs a query; pass query_str=... or query_bundle=... to postprocess_nodes")
    return query_bundle


def _text(node: BaseNode, metadata_mode: MetadataMode) -> str:
    """What the reranker reads: never an earlier score, and nothing where there is only metadata."""
    if not node.get_content(metadata_mode=MetadataMode.NONE).strip():
        return ""
    if any(key in node.metadata for key in _SCORE_KEYS):  # not every mode, nor every store, heeds the exclusions
        metadata = {key: value for key, value in node.metadata.items() if key not in _SCORE_KEYS}
        node = node.model_copy(update={"metadata": metadata})
    return node.get_content(metadata_mode=metadata_mode)


def _scored_copy(scored: NodeWithScore, relevance: float | None, reranked_by: str) -> NodeWithScore:
    node = scored.node
    metadata = dict(node.metadata)
    if scored.score is not None and "reranked_by" not in metadata:  # else the score is an earlier reranker's
        metadata["retrieval_score"] = float(scored.score)  # other postprocessors leave numpy's here
    relevance = None if relevance is None else float(relevance)
    metadata |= {"relevance_score": relevance, "reranked_by": reranked_by}
    update: dict[str, object] = {"metadata": metadata}
    for name in ("excluded_embed_metadata_keys", "excluded_llm_metadata_keys"):
        excluded = getattr(node, name)
        update[name] = [*excluded, *(key for key in _SCORE_KEYS if key not in excluded)]
    return scored.model_copy(update={"node": node.model_copy(update=update), "score": relevance})
