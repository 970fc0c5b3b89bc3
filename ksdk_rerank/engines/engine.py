"""The engine interface, and the settings that choose and configure an engine."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

from ksdk_rerank._arguments import WrongType, flag, text_or_none

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from tokenizers import Tokenizer

    from ksdk_rerank.engines.batching import Batch
    from ksdk_rerank.engines.prompts import Prompt

__all__ = ["Backend", "Dtype", "Engine", "ModelSettings"]

Backend = Literal["openvino", "onnx", "torch"]
Dtype = Literal["auto", "float32", "float16", "bfloat16", "int8"]


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """Which model to load, and how. Equal settings share one copy of the weights.

    `CrossEncoderReranker` documents each field. Its `instruction` is not one of them: it belongs to a call, so that
    rerankers that differ only in it share the weights.
    """

    model: str
    backend: Backend | None = None
    device: str | None = None
    dtype: Dtype = "auto"
    max_length: int = 512
    revision: str | None = None
    cache_folder: str | None = None
    local_files_only: bool = False
    trust_remote_code: bool = False
    onnx_file: str | None = None
    label: int | str | None = None
    token: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for name in ("local_files_only", "trust_remote_code"):
            object.__setattr__(self, name, flag(name, getattr(self, name)))
        for name in ("device", "revision", "cache_folder"):
            text_or_none(name, getattr(self, name))
        if self.token is not None and not isinstance(self.token, str):  # never shown
            raise WrongType(f"token must be a string or None, got a {type(self.token).__name__}")


class Engine(ABC):
    """A loaded model: runs a padded batch and returns its logits. Every engine sets the first three attributes."""

    backend: ClassVar[str]
    tokenizer: Tokenizer
    """The model's tokenizer. It belongs to this engine alone, so nobody else may change its truncation or padding."""
    budget: int
    """Maximum padded tokens per batch; a longer pair gets its own batch.

    A pair's logit must not depend on the rest of its batch, except for rounding. If it would, the budget is 1, so that
    every pair gets its own batch."""

    file: str | None = None
    """The ONNX file that it runs, as a path in the model's folder; None if it reads the model's weights itself."""
    prompt: Prompt | None = None
    """How the model wants to be asked, if it is a language model; None if it reads pairs."""
    streams: int = 1
    """How many threads may run `forward` at once."""
    multiple: int = 1
    """Batches are padded to a multiple of this many tokens, for engines that compile for each new shape."""
    reads_prefixes: bool = False
    """Whether `read_prefix` works: the tokens that all of a call's pairs begin with are then run once."""

    @abstractmethod
    def forward(self, batch: Batch) -> NDArray[np.floating]:
        """The logits of a batch, before any activation: one per row, in float32 or float64."""

    def read_prefix(self, ids: NDArray[np.int64]) -> object:
        """Run token ids of shape (tokens,). Returns what this engine needs as `Batch.prefix` to go on after them."""
        raise NotImplementedError(self.backend)
