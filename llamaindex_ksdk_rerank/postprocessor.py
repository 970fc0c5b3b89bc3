"""`RerankPostprocessor`: any `Reranker` as a LlamaIndex node postprocessor."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from llama_index.core.bridge.pydantic import ConfigDict, PrivateAttr, field_serializer
from llama_index.core.callbacks.schema import CBEventType, EventPayload
from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import BaseNode, MetadataMode, NodeWithScore, QueryBundle
from pydantic import BeforeValidator

from ksdk_rerank import Ranking, Reranker, from_config, load_reranker, to_config
from ksdk_rerank._metadata import SCORE_KEYS, as_score, hand_on, rescored, was_handed_on, without_scores
from ksdk_rerank._request import checked_min_score, checked_top_n

__all__ = ["RerankPostprocessor"]

dispatcher = get_dispatcher(__name__)


class RerankPostprocessor(BaseNodePostprocessor):
    """Reranks nodes for the query and keeps the best `top_n`, best first.

    Put it in `node_postprocessors` of a query or chat engine, or call `postprocess_nodes(nodes, query_str=...)`.
    Safe to share between threads, event loops and engines.

    Args:
        reranker: a `Reranker`, or a name for `ksdk_rerank.load_reranker`, such as `"lexical"`. Pass a `Reranker` if you
            want to `close` it.
        top_n: maximum number of nodes to keep; None keeps all, in their new order.
        min_score: keep only nodes whose relevance, in [0, 1], is at least this. Applied before `top_n`; ignored if the
            reranker scores nothing, as after a fallback to `InputOrder`.
        metadata_mode: which metadata the reranker reads along with a node's text; by default, what an embedding model
            reads.
        callback_manager: for legacy callbacks; query and chat engines set their own.

    Returned nodes are copies that keep their ids, relationships and classes. The input nodes and the index behind them
    are not changed. `NodeWithScore.score` becomes the relevance in [0, 1], higher is better. `node.metadata` gains:

    - `relevance_score`: the same relevance, or None if the node was not scored;
    - `retrieval_score`: the score the node arrived with, if any; a second reranker in the same call keeps it;
    - `reranked_by`: the name of the reranker.

    Values stored in an index under these keys belong to an earlier query and are dropped. None of the three keys
    reaches an LLM prompt, an embedding or a later reranker; only `MetadataMode.ALL` shows them.

    An unscored node has `relevance_score=None` and keeps the `NodeWithScore.score` it arrived with. `InputOrder` scores
    no node at all, so after an outage `SimilarityPostprocessor` and `LongContextReorder` see the search's scores. A
    node that arrived without a score still has none, and `SimilarityPostprocessor` drops it. Nodes without text of
    their own, such as images, are never scored and come last. If only some nodes were scored, the list mixes two kinds
    of score: `min_score=0` drops the unscored nodes before anything compares them.

    Fields can be reassigned; new values are checked like constructor arguments.

    Each call dispatches `ReRankStartEvent`, `ReRankEndEvent`, the legacy `RERANKING` callback and one span. Every start
    event gets its end event, even if there are no nodes or the call fails; after a failure the end event has no nodes.
    Everything else in the `Ranking` (`usage`, `failures`, `truncated` and so on) is in the end event's `tags` and the
    callback's `ADDITIONAL_KWARGS`.

    `to_dict` and pickle keep the reranker's options, but no key and no callbacks. `to_dict` raises if
    `ksdk_rerank.to_config` cannot write the reranker: then use `to_dict(exclude={"reranker"})` and
    `from_dict(data, reranker=...)`.

    Raises:
        ValueError: `top_n` is not an integer of at least 1, `min_score` is not a number in [0, 1], or the reranker name
            is unknown; when called, the query is missing or blank.
        MissingKey: the name or configuration is for a hosted reranker, and its key is not in the environment.
        RerankError: the reranker failed; see `ksdk_rerank.errors`.
    """

    reranker: Reranker | str
    top_n: Annotated[int | None, BeforeValidator(checked_top_n)] = 5
    min_score: Annotated[float | None, BeforeValidator(checked_min_score)] = None
    metadata_mode: MetadataMode = MetadataMode.EMBED

    _loaded: dict[str, Reranker] = PrivateAttr(default_factory=dict)

    model_config = ConfigDict(validate_assignment=True)

    if not TYPE_CHECKING:  # callers and type checkers keep seeing pydantic's signature

        def __init__(self, **data: Any) -> None:
            # Not in a validator: there pydantic would turn `MissingKey`, a `ValueError`, into its own error.
            if "reranker" in data:
                data["reranker"] = _read(data["reranker"])
            super().__init__(**data)
            self._reranker()

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "reranker":
            value = _read(value)
            if isinstance(value, str):
                self._named(value)
        super().__setattr__(name, value)

    @classmethod
    def class_name(cls) -> str:
        return "RerankPostprocessor"

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        # No `@dispatcher.span`: this method is abstract in the base class, which opens the span itself.
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
        """Return `reranker`, built once per name, so that the field can be reassigned."""
        return self.reranker if isinstance(self.reranker, Reranker) else self._named(self.reranker)

    def _named(self, name: str) -> Reranker:
        if name not in self._loaded:
            self._loaded[name] = load_reranker(name)
        return self._loaded[name]

    def _asked(self, nodes: Sequence[NodeWithScore], query: QueryBundle) -> tuple[str, list[str]]:
        return query.query_str, [_text(scored.node, self.metadata_mode) for scored in nodes]

    @contextmanager
    def _reported(
        self, nodes: list[NodeWithScore], query: QueryBundle
    ) -> Iterator[Callable[[Ranking], list[NodeWithScore]]]:
        """Report one call to both LlamaIndex event systems; yields a function that turns the ranking into nodes."""
        reranked: list[NodeWithScore] = []
        said: dict[str, Any] = {}

        def done(ranking: Ranking) -> list[NodeWithScore]:
            said.update(ranking.details())
            for hit in ranking:
                reranked.append(_scored_copy(nodes[hit.index], hit.score, ranking.reranked_by, query.query_str))
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

    @field_serializer("reranker")
    def _to_config(self, reranker: Reranker | str) -> str | dict[str, object]:
        return reranker if isinstance(reranker, str) else to_config(reranker)

    def __reduce__(self) -> tuple[Any, ...]:
        # The base class deletes what it cannot pickle, even from this very object, and only logs that.
        state = {name: getattr(self, name) for name in type(self).model_fields if name != "callback_manager"}
        return partial(type(self), **state), ()


def _read(reranker: Any) -> Any:
    """Return `reranker`, rebuilt first if it is a configuration written by `to_dict`."""
    return from_config(reranker) if isinstance(reranker, Mapping) else reranker


def _checked_query(query_bundle: QueryBundle | None) -> QueryBundle:
    if query_bundle is None:
        raise ValueError("reranking needs a query; pass query_str=... or query_bundle=... to postprocess_nodes")
    return query_bundle


def _text(node: BaseNode, metadata_mode: MetadataMode) -> str:
    """The text the reranker reads: never an earlier score, and empty if the node has only metadata."""
    if not node.get_content(metadata_mode=MetadataMode.NONE).strip():
        return ""
    if any(key in node.metadata for key in SCORE_KEYS):  # not every mode or store respects the exclusions
        node = node.model_copy(update={"metadata": without_scores(node.metadata)})
    return node.get_content(metadata_mode=metadata_mode)


def _scored_copy(scored: NodeWithScore, relevance: float | None, reranked_by: str, query: str) -> NodeWithScore:
    node, came_with = scored.node, as_score(scored.score)  # other postprocessors leave numpy floats here
    ours = was_handed_on(node, query, came_with)  # if so, the score may come from an earlier reranker
    retrieval = node.metadata.get("retrieval_score") if ours else came_with
    metadata = rescored(node.metadata, relevance=relevance, retrieval=retrieval, reranked_by=reranked_by)
    update: dict[str, object] = {"metadata": metadata}
    for name in ("excluded_embed_metadata_keys", "excluded_llm_metadata_keys"):
        excluded = getattr(node, name)
        update[name] = [*excluded, *(key for key in SCORE_KEYS if key not in excluded)]
    score = came_with if metadata["relevance_score"] is None else metadata["relevance_score"]
    node = node.model_copy(update=update)
    hand_on(node, query, score)
    return scored.model_copy(update={"node": node, "score": score})
