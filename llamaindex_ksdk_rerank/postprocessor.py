"""`RerankPostprocessor`: any `Reranker` as a LlamaIndex node postprocessor."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Self

from llama_index.core.bridge.pydantic import ConfigDict, Field, PrivateAttr, field_serializer
from llama_index.core.callbacks.schema import CBEventType, EventPayload
from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import BaseNode, MetadataMode, NodeWithScore, QueryBundle, TextNode
from pydantic import BeforeValidator

from ksdk_rerank import Ranked, Ranking, Reranker, load_reranker, to_config
from ksdk_rerank._arguments import finite
from ksdk_rerank._metadata import (
    SCORE_KEYS,
    checked_count,
    checked_max_tokens,
    checked_text,
    mark_returned,
    own_keys,
    passages_of,
    rescored,
    texts_of,
)
from ksdk_rerank._request import checked_min_keep, checked_min_score, checked_top_n
from ksdk_rerank.compose.passages import finding_passages
from ksdk_rerank.results import fitting

__all__ = ["RerankPostprocessor"]

dispatcher = get_dispatcher(__name__)
_Text = Callable[[BaseNode], str] | Sequence[str] | Mapping[str, str | None] | None
_Arguments = dict[str, Any]
_Done = Callable[[Ranking], list[NodeWithScore]]


class RerankPostprocessor(BaseNodePostprocessor):
    """Reranks nodes for the query and keeps the best `top_n`, best first.

    Put it in `node_postprocessors` of a query or chat engine, or call `postprocess_nodes(nodes, query_str=...)`.
    Safe to share between threads, event loops and engines.

    Args:
        reranker: a `Reranker`, or a name or configuration for `load_reranker`. To `close` it, pass a `Reranker`.
        top_n: maximum number of nodes to keep; None keeps all, in their new order.
        min_score: keep only nodes whose score from the reranker, in [0, 1], is at least this. Applied before `top_n`;
            ignored if no node has one, as after a fallback to `InputOrder`.
        metadata_mode: the metadata to read along with a node's text; by default, what an embedding model would read.
        text: something else to score; `metadata_mode` is then ignored. A list of metadata keys puts their values above
            the text. A mapping from labels to keys, with None for the text, gives labelled fields in this order. A
            function of the node returns the text.
        min_keep: keep at least this many nodes, even if fewer reach `min_score`.
        passages: return only a node's relevant passages as its text: see `Passages`, which finds them if the reranker
            does not. The id stays the same, so you can still look up the whole text in a document store.
            `start_char_idx` and `end_char_idx` become the excerpt's. `metadata` then has `start` and `end`, the extent
            of the excerpt in the original text, and `original_length`, all in characters. Needs
            `pip install "ksdk-rerank[passages]"`.
        max_tokens: keep the best nodes that together fit into this many tokens, as an LLM reads them: see
            `Ranking.within`.
        count_tokens: counts the tokens of a text; None estimates them. `to_dict` leaves it out.
        skip_oversized: skip a node that does not fit into `max_tokens` and try the next, instead of stopping there.
        callback_manager: for legacy callbacks; query and chat engines set their own.

    Returns copies that keep their ids, relationships and classes. `NodeWithScore.score` becomes the reranker's score,
    in [0, 1]; an unscored node keeps the score it arrived with. Nodes without text of their own, such as images, are
    never scored and come last. These keys are added to `node.metadata`: `relevance_score` (the reranker's score; None
    if unscored), `reranked_by` (the reranker's name) and, if known, `retrieval_score` (the score that the first
    reranker of this call was given) and `relevant_spans` (the passages' [start, end] in the original text, best first).
    Values already stored under these keys belong to an earlier query, and are dropped. None of them reaches an LLM
    prompt, an embedding or a later reranker; only `MetadataMode.ALL` shows them.

    Each call dispatches `ReRankStartEvent`, `ReRankEndEvent`, the legacy `RERANKING` callback and one span, even if
    there are no nodes or the call fails. Everything else in the `Ranking` (`usage`, `failures`, `truncated` and so on)
    and the reranker's `instruction`, if any, are in the end event's `tags` and the callback's `ADDITIONAL_KWARGS`.

    Fields can be reassigned; new values are checked like constructor arguments. `to_dict` and pickle keep the
    reranker's options, but no key and no callbacks. If `ksdk_rerank.to_config` cannot write your reranker, use
    `to_dict(exclude={"reranker"})` and `from_dict(data, reranker=...)`, and the same for `text` if it is a function.
    Copies within a process keep all of it, and share the callbacks.

    Raises:
        ValueError: an argument is invalid, or, when called, the query is missing or blank.
        MissingKey: the name or configuration is for a hosted reranker, and its key is not in the environment.
        RerankError: the reranker failed; see `ksdk_rerank.errors`.
    """

    reranker: Reranker | str | Mapping[str, object]
    top_n: Annotated[int | None, BeforeValidator(checked_top_n)] = 5
    min_score: Annotated[float | None, BeforeValidator(checked_min_score)] = None
    metadata_mode: MetadataMode = MetadataMode.EMBED
    text: Annotated[_Text, BeforeValidator(checked_text)] = None
    min_keep: Annotated[int, BeforeValidator(checked_min_keep)] = 0
    passages: bool = False
    max_tokens: Annotated[int | None, BeforeValidator(checked_max_tokens)] = None
    count_tokens: Annotated[Callable[[str], int] | None, BeforeValidator(checked_count)] = Field(
        default=None, exclude=True
    )
    skip_oversized: bool = False

    _loaded: dict[str, Reranker] = PrivateAttr(default_factory=dict)

    model_config = ConfigDict(extra="forbid", validate_assignment=True, hide_input_in_errors=True)

    if not TYPE_CHECKING:  # callers and type checkers keep seeing pydantic's signature

        def __init__(self, **data: Any) -> None:
            data.pop("class_name", None)  # what `model_dump` adds to the fields
            # Not in a validator: there pydantic would turn `MissingKey`, a `ValueError`, into its own error.
            if "reranker" in data:
                data["reranker"] = _name_or_reranker(data["reranker"])
            super().__init__(**data)
            self._load(self.reranker)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "reranker":
            value = _name_or_reranker(value)
            self._load(value)
        super().__setattr__(name, value)

    @classmethod
    def class_name(cls) -> str:
        return "RerankPostprocessor"

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        # No `@dispatcher.span`: this method is abstract in the base class, which opens the span itself.
        with self._reported([*nodes], query_bundle) as (arguments, done):
            return done(self._ranker().rank(**arguments))

    @dispatcher.span
    async def _apostprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        with self._reported([*nodes], query_bundle) as (arguments, done):
            return done(await self._ranker().arank(**arguments))

    def _ranker(self) -> Reranker:
        reranker = self._load(self.reranker)
        return finding_passages(reranker) if self.passages else reranker

    def _load(self, reranker: Any) -> Reranker:
        """Build a reranker from its name, once: the field keeps the name, so that `to_dict` can write it."""
        if not isinstance(reranker, str):
            return load_reranker(reranker)
        if reranker not in self._loaded:
            self._loaded[reranker] = load_reranker(reranker)
        return self._loaded[reranker]

    def _arguments(self, nodes: Sequence[NodeWithScore], query: QueryBundle) -> _Arguments:
        read = [scored.node for scored in nodes]
        if self.text is None:
            texts = [_text(node, self.metadata_mode) for node in read]
        else:
            texts = texts_of(read, self.text, lambda node: node.get_content(metadata_mode=MetadataMode.NONE))
        limits = {"top_n": self.top_n, "min_score": self.min_score, "min_keep": self.min_keep}
        return {"query": query.query_str, "documents": texts, **limits}

    @contextmanager
    def _reported(self, nodes: list[NodeWithScore], query: QueryBundle | None) -> Iterator[tuple[_Arguments, _Done]]:
        """Report one call to both LlamaIndex event systems.

        Yields the arguments of the reranker's call, and a function that turns its ranking into nodes.
        """
        if query is None:
            raise ValueError("reranking needs a query; pass query_str=... or query_bundle=... to postprocess_nodes")
        reranked: list[NodeWithScore] = []
        reranker = self._load(self.reranker)
        details: dict[str, Any] = {} if reranker.instruction is None else {"instruction": reranker.instruction}

        def done(ranking: Ranking) -> list[NodeWithScore]:
            details.update(ranking.details())
            name, text = ranking.reranked_by, query.query_str
            found = [_scored_copy(nodes[hit.index], hit, name, text, shorten=self.passages) for hit in ranking]
            reranked.extend(self._within_budget(found))
            return reranked

        model_name, top_n = reranker.name, len(nodes) if self.top_n is None else self.top_n
        payload: dict[str, Any] = {EventPayload.NODES: nodes, EventPayload.MODEL_NAME: model_name}
        payload |= {EventPayload.QUERY_STR: query.query_str, EventPayload.TOP_K: top_n}
        dispatcher.event(ReRankStartEvent(query=query, nodes=nodes, top_n=top_n, model_name=model_name))
        try:
            with self.callback_manager.event(CBEventType.RERANKING, payload=payload) as event:
                yield self._arguments(nodes, query), done
                event.on_end(payload={EventPayload.NODES: reranked, EventPayload.ADDITIONAL_KWARGS: details})
        finally:
            dispatcher.event(ReRankEndEvent(nodes=reranked, tags=details))

    def _within_budget(self, nodes: Sequence[NodeWithScore]) -> Sequence[NodeWithScore]:
        if self.max_tokens is None:
            return nodes
        texts = (scored.node.get_content(metadata_mode=MetadataMode.LLM) for scored in nodes)
        kept = fitting(texts, self.max_tokens, self.count_tokens, skip_oversized=self.skip_oversized)
        return [nodes[place] for place in kept]

    @field_serializer("reranker")
    def _to_config(self, reranker: Any) -> str | dict[str, object]:
        return reranker if isinstance(reranker, str) else to_config(reranker)

    @field_serializer("text")
    def _written_text(self, text: Any) -> Any:
        if callable(text):
            raise TypeError(
                "text is a function, which cannot be written; leave it out, as in to_dict(exclude={'text'}), and pass"
                " it again, as in from_dict(data, text=...)"
            )
        return text

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        # Callback handlers record what happens, and often hold locks or connections: copies share them.
        memo = {} if memo is None else memo
        memo.setdefault(id(self.callback_manager), self.callback_manager)
        return super().__deepcopy__(memo)

    def __reduce__(self) -> tuple[Any, ...]:
        # The base class deletes what it cannot pickle, even from this very object, and only logs that.
        state = {name: getattr(self, name) for name in type(self).model_fields if name != "callback_manager"}
        return partial(type(self), **state), ()


def _name_or_reranker(reranker: Any) -> Reranker | str:
    return reranker if isinstance(reranker, str) else load_reranker(reranker)


def _text(node: BaseNode, metadata_mode: MetadataMode) -> str:
    """The text the reranker reads: never what an earlier one wrote, and empty if the node has only metadata."""
    if not node.get_content(metadata_mode=MetadataMode.NONE).strip():
        return ""
    if own := own_keys(node.metadata):  # not every mode or store respects the exclusions
        others = {key: value for key, value in node.metadata.items() if key not in own}
        node = node.model_copy(update={"metadata": others})
    return node.get_content(metadata_mode=metadata_mode)


def _scored_copy(scored: NodeWithScore, hit: Ranked, reranked_by: str, query: str, *, shorten: bool) -> NodeWithScore:
    node, came_with = scored.node, finite(scored.score)  # other postprocessors leave numpy floats here
    # If an earlier reranker returned it with this very score, the score is that reranker's.
    metadata = rescored(node, (query, came_with), hit.score, retrieval=came_with, reranked_by=reranked_by)
    whole = node.get_content(metadata_mode=MetadataMode.NONE)
    content, found = passages_of(hit, whole, shorten=shorten)
    update: dict[str, object] = {"metadata": metadata | found}
    hidden = dict.fromkeys([*SCORE_KEYS, *found, *sorted(own_keys(node.metadata))])
    for name in ("excluded_embed_metadata_keys", "excluded_llm_metadata_keys"):
        excluded = getattr(node, name)
        update[name] = [*excluded, *(key for key in hidden if key not in excluded)]
    score = came_with if metadata["relevance_score"] is None else metadata["relevance_score"]
    copy = node.model_copy(update=update)
    if content != whole:
        copy.set_content(content)
        _move_character_indices(copy, found["start"], found["end"], len(whole))
    return scored.model_copy(update={"node": mark_returned(copy, (query, score)), "score": score})


def _move_character_indices(node: BaseNode, start: int, end: int, length: int) -> None:
    """Make the indices those of the excerpt, if they were those of the text that it was taken from.

    They are not if another postprocessor has replaced the text, such as a sentence by its window.
    """
    first, last = getattr(node, "start_char_idx", None), getattr(node, "end_char_idx", None)
    if isinstance(node, TextNode) and first is not None and last is not None and last - first == length:
        node.start_char_idx, node.end_char_idx = first + start, first + end
