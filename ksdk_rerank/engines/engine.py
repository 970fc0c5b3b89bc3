"""What an engine is, and the settings that choose and configure one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

from ksdk_rerank.errors import InferenceFailed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from tokenizers import Tokenizer

    from ksdk_rerank.engines.batching import Batch

__all__ = ["Backend", "Dtype", "Engine", "Settings", "inference_failed"]

Backend = Literal["openvino", "onnx", "torch"]
Dtype = Literal["auto", "float32", "float16", "bfloat16", "int8"]


@dataclass(frozen=True, slots=True)
class Settings:
    """Which model to load, and how. Equal settings share their weights; see `CrossEncoderReranker` for each."""

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
    token: str | None = field(default=None, repr=False)


class Engine(ABC):
    """Weights in memory."""

    backend: ClassVar[str]
    tokenizer: Tokenizer
    """The model's tokenizer, this engine's own: nobody else may change its truncation or padding."""
    streams: int = 1
    """How many threads may be in `forward` at once."""
    budget: int
    """How many tokens a batch may have, padding included; a longer pair is alone in its.

    A pair's logit must not hang on what else is in its batch, but for rounding: where it would, this is 1."""

    multiple: int = 1
    """Batches are padded to a length that is a multiple of so many tokens, for an engine that prepares itself for each
    new shape."""

    @abstractmethod
    def forward(self, batch: Batch) -> NDArray[np.floating]:
        """The logits of a batch, before any activation: one a row, in float32 or float64."""


def inference_failed(backend: str, model: str, error: Exception) -> InferenceFailed:
    """The error for an engine that failed while it ran a model, in the engine's own words."""
    said = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return InferenceFailed(
        f"the {backend} engine failed while it ran {model} ({said}); if it is short of memory, lower max_length or free"
        " some; else try another backend"
    )
