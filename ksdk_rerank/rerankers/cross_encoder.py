"""`CrossEncoderReranker`: a cross-encoder on this machine."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath, PureWindowsPath
from typing import Self, get_args

from ksdk_rerank._arguments import integer, number
from ksdk_rerank.base import ScoreKind, Scores, ScoringReranker
from ksdk_rerank.engines.engine import Backend, Dtype, Settings
from ksdk_rerank.engines.pool import SharedModel, acquire, release

__all__ = ["CrossEncoderReranker"]

_RUNS: dict[Dtype, tuple[Backend, ...]] = {"float16": ("torch",), "bfloat16": ("openvino", "torch")}
"""Who calculates in it, where not everybody does."""


class CrossEncoderReranker(ScoringReranker):
    """A cross-encoder on this machine: it reads the query and a document together, which is slow and good.

    Needs `pip install "ksdk-rerank[local]"` (onnxruntime, no torch), `"ksdk-rerank[openvino]"` (bfloat16, for models
    without an int8 file) or `"ksdk-rerank[torch]"` (any model, GPUs). The
    model is loaded at the first call, once for each process and configuration: rerankers with equal arguments share its
    weights, and threads that do nothing else. Calls that wait at the same moment share batches, and a small one
    overtakes a large one. `close` lets the weights go once no other reranker uses them.

    Args:
        model: a folder, or a hub id such as `"BAAI/bge-reranker-large"`. It must be a cross-encoder with one logit.
        backend: `"openvino"`, `"onnx"` or `"torch"`. None takes torch if it can use a GPU (CUDA). Otherwise it takes
            onnx, or torch if the model offers no ONNX file. openvino is taken without being asked for only if it is
            faster: the processor has bfloat16, and the model offers no int8 file that suits it. Ask for openvino to
            get scores closer to float32 than int8 gives.
        device: such as `"cpu"`, `"cuda"`, `"cuda:1"` or `"mps"`. None is the CPU with openvino and onnx; with torch it
            is the best there is. On another than the CPU torch comes first.
        dtype: what is calculated in. `"auto"` with openvino is bfloat16 where the processor has it, else float32; with
            onnx it is int8 where the model offers an int8 file that suits the processor, else float32; with torch it
            is float32 on a CPU and a 16-bit type on a GPU. `"int8"` needs onnx, `"bfloat16"` openvino or torch,
            `"float16"` torch.
        max_length: tokens of query and document together, special ones included; fewer where the model reads fewer.
            A longer document is cut, and `Ranking.truncated` counts it. A query is read whole up to half of them and
            cut there if it is longer, which `Ranking.query_truncated` says.
        revision: a branch, tag or commit on the hub. Pin a commit to get the same weights for ever.
        cache_folder: where the hub's files are kept; None is the hub's own cache.
        local_files_only: use what is in the cache, and ask no hub.
        onnx_file: the ONNX file to run, as a path in the model's folder or repository, such as
            `"onnx/model_O3.onnx"`. None takes the best by the usual names, or the only one. Not with torch.
        trust_remote_code: run Python code that comes with the model. It needs torch; read the code before.
        token: for gated and private models. It is never shown nor pickled; None uses `HF_TOKEN`.
        timeout: seconds for a whole call: waiting, encoding and running. After that it raises `TimedOut` and leaves
            the queue, between two batches. It also ends the wait for a model that is being loaded; loading goes on, and
            a later call finds the model there. None waits for as long as it takes.
        max_waiting: how many calls may wait for the model beside those that run, which are as many as there are cores,
            four at most. One more raises `Overloaded` at once. Calls of all rerankers that share the weights count.
            None sets no bound.

    Raises:
        TypeError, ValueError: an argument does not fit, or two do not go together.

    `raw_score` is the model's logit, `score` its sigmoid. Calls may come from any thread and any event loop. The first
    may raise `MissingExtra` or a `ModelError` that names the file at fault, among them `HubUnreachable`, or
    `ValueError` if `max_length` has no room for a query and a document. An engine that fails while it runs raises
    `InferenceFailed`. `HubUnreachable`, `InferenceFailed`, `TimedOut` and `Overloaded` are transient, so `Fallback`
    moves on.
    """

    score_kind = ScoreKind.LOGIT
    pointwise = True

    def __init__(
        self,
        model: str | os.PathLike[str] = "cross-encoder/ms-marco-MiniLM-L-6-v2",
        *,
        backend: Backend | None = None,
        device: str | None = None,
        dtype: Dtype = "auto",
        max_length: int = 512,
        revision: str | None = None,
        cache_folder: str | os.PathLike[str] | None = None,
        local_files_only: bool = False,
        onnx_file: str | None = None,
        trust_remote_code: bool = False,
        token: str | None = None,
        timeout: float | None = None,
        max_waiting: int | None = None,
    ) -> None:
        self._settings = _checked(
            Settings(
                model=os.fspath(model),
                backend=backend,
                device=device,
                dtype=dtype,
                max_length=integer("max_length", max_length, unit="token"),
                revision=revision,
                cache_folder=None if cache_folder is None else os.fspath(cache_folder),
                local_files_only=local_files_only,
                onnx_file=onnx_file,
                trust_remote_code=trust_remote_code,
                token=token,
            )
        )
        self.model = self._settings.model
        self.backend = backend
        self.device = device
        self.dtype = dtype
        self.max_length = self._settings.max_length
        self.revision = revision
        self.cache_folder = self._settings.cache_folder
        self.local_files_only = local_files_only
        self.onnx_file = onnx_file
        self.trust_remote_code = trust_remote_code
        self.timeout = None if timeout is None else _checked_timeout(timeout)
        self.max_waiting = (
            None
            if max_waiting is None
            else integer("max_waiting", max_waiting, at_least=0, unit="calls", advice="None sets no bound")
        )

    @property
    def name(self) -> str:
        return self.model

    @property
    def engine(self) -> str:
        """Which engine runs the model, such as `"onnx"`. Loads the model where it is not loaded yet."""
        return self._shared().model(self.timeout).engine.backend

    def identifying_parameters(self) -> dict[str, object]:
        return {name: value for name, value in self.parameters().items() if name not in ("timeout", "max_waiting")}

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """How many tokens each text has, without special ones. Loads the model where it is not loaded yet."""
        return self._shared().model(self.timeout).encoder.count_tokens(texts)

    def document_room(self, query: str) -> int:
        """How many tokens of a document are read beside `query`, or beside what is read of it."""
        return self._shared().model(self.timeout).encoder.document_room(query)

    def score(self, query: str, documents: Sequence[str]) -> Scores:
        return self._shared().score(query, documents, seconds=self.timeout, max_waiting=self.max_waiting)

    async def ascore(self, query: str, documents: Sequence[str]) -> Scores:
        return await self._shared().ascore(query, documents, seconds=self.timeout, max_waiting=self.max_waiting)

    def close(self) -> None:
        """Let the weights go, once calls that wait are done and unless another reranker uses them."""
        shared = release(self._settings, self)
        if shared is not None:
            shared.close()

    async def aclose(self) -> None:
        """Like `close`, without blocking the event loop."""
        shared = release(self._settings, self)
        if shared is not None:
            await shared.aclose()

    def _shared(self) -> SharedModel:
        return acquire(self._settings, self)

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_settings": replace(self._settings, token=None)}

    def __copy__(self) -> Self:
        copy = type(self).__new__(type(self))
        copy.__dict__.update(self.__dict__)  # in this process the token may go along
        return copy

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        return self.__copy__()


def _checked(settings: Settings) -> Settings:
    if not settings.model.strip():
        raise ValueError("model is blank; pass a folder or a hub id such as cross-encoder/ms-marco-MiniLM-L-6-v2")
    if settings.backend not in (None, *get_args(Backend)):
        raise ValueError(f'backend must be "openvino", "onnx", "torch" or None, got {settings.backend!r}')
    if settings.dtype not in get_args(Dtype):
        raise ValueError(f"dtype must be one of {', '.join(get_args(Dtype))}, got {settings.dtype!r}")
    if settings.backend in ("onnx", "openvino") and settings.trust_remote_code:
        raise ValueError('an ONNX file brings no code; leave trust_remote_code out, or pass backend="torch"')
    if settings.dtype == "int8" and (settings.backend not in (None, "onnx") or settings.trust_remote_code):
        raise ValueError('dtype="int8" needs backend="onnx", which runs no code of the model\'s own')
    if settings.onnx_file is not None:
        _check_onnx_file(settings.onnx_file, settings)
    if settings.backend not in (None, *_RUNS.get(settings.dtype, get_args(Backend))):
        needed = " or ".join(f'backend="{backend}"' for backend in _RUNS[settings.dtype])
        raise ValueError(f"dtype={settings.dtype!r} needs {needed}; {settings.backend} cannot calculate in it")
    return settings


def _checked_timeout(timeout: float) -> float:
    seconds = number("timeout", timeout)
    if not (math.isfinite(seconds) and seconds > 0):
        raise ValueError(f"timeout must be a positive, finite number of seconds or None, got {timeout!r}")
    return seconds


def _check_onnx_file(name: str, settings: Settings) -> None:
    if not isinstance(name, str):
        raise TypeError(f"onnx_file must be a path in the model's folder, got {name!r}")
    for path in (PurePosixPath(name), PureWindowsPath(name)):
        if path.is_absolute() or path.drive or path.root or ".." in path.parts or path.suffix.lower() != ".onnx":
            raise ValueError(
                "onnx_file must be the path of an .onnx file in the model's folder, such as onnx/model.onnx,"
                f" got {name!r}"
            )
    if settings.backend == "torch" or settings.trust_remote_code or settings.dtype == "float16":
        raise ValueError(
            f'onnx_file={name!r} goes with backend="onnx" or "openvino", and these settings ask for torch; leave it'
            " out, or leave out backend, dtype and trust_remote_code"
        )
