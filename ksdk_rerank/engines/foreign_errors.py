"""Maps what engines and their libraries raise to our errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ksdk_rerank.errors import InferenceFailed, RerankError

__all__ = ["in_one_line", "inference_errors", "is_failure", "out_of_memory"]

_OUT_OF_MEMORY = ("out of memory", "outofmemory", "bad_alloc", "bad allocation", "allocate memory", "alloc_failed")
"""Phrases in the out-of-memory errors of torch, onnxruntime, OpenVINO and CUDA's libraries."""


@contextmanager
def inference_errors(backend: str, model: str) -> Iterator[None]:
    """Map what an engine raises while it runs a model in this block: `InferenceFailed`, with the engine's message."""
    try:
        yield
    except RerankError:
        raise
    except Exception as error:  # each engine has its own errors, and any can run out of memory
        raise InferenceFailed(
            f"the {backend} engine failed while running {model} ({type(error).__name__}: {in_one_line(error)}); if it"
            " is out of memory, lower max_length or free some memory; otherwise try another backend"
        ) from error


def out_of_memory(error: BaseException) -> bool:
    """Whether an engine ran out of memory. Each engine words that differently."""
    said = f"{type(error).__name__} {error}".lower()
    return isinstance(error, MemoryError) or any(words in said for words in _OUT_OF_MEMORY)


def is_failure(error: BaseException) -> bool:
    """Whether an error is a failure rather than an interruption. A panic in a library in Rust is no `Exception`."""
    return isinstance(error, Exception) or type(error).__name__ == "PanicException"


def in_one_line(error: BaseException) -> str:
    """An error's message. Those of some libraries span many lines."""
    return " ".join(str(error).split())
