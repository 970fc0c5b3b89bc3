"""`CrossEncoderReranker`: runs a cross-encoder on this machine."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Self

from ksdk_rerank._arguments import integer, number, text_or_none
from ksdk_rerank._tracing import traced
from ksdk_rerank.engines.engine import Backend, Dtype, ModelSettings
from ksdk_rerank.engines.pool import ModelRunner, acquire, release
from ksdk_rerank.engines.scoring import Question
from ksdk_rerank.rerankers._batched import BatchedReranker
from ksdk_rerank.rerankers._model_settings import checked_label, checked_model, checked_settings
from ksdk_rerank.scores import ScoreKind, Scores

__all__ = ["CrossEncoderReranker"]

_WARM_UP: Sequence[Question] = [("warm up", [f"{number} {'warm up ' * 55}" for number in range(8)])]
"""Eight documents of about 110 tokens: full batches, for which an engine allocates what most calls need."""


class CrossEncoderReranker(BatchedReranker):
    """A cross-encoder on this machine: it reads query and document together, which is slow but accurate.

    Needs `pip install "ksdk-rerank[local]"` (onnxruntime, no torch), `"ksdk-rerank[openvino]"` (bfloat16, for models
    without an int8 file) or `"ksdk-rerank[torch]"` (any model, GPUs).

    The model is loaded on the first call, once per process and configuration. Rerankers with equal arguments
    (`instruction`, `timeout` and `max_waiting` aside) share its weights and its dedicated threads. Concurrent calls
    share batches, and a small call overtakes a large one. `close` frees the weights once no other reranker uses them.

    Args:
        model: a folder, or a hub id such as `"BAAI/bge-reranker-large"`. It must be a cross-encoder with one logit, or,
            with torch, a model with a prompt such as `"Qwen/Qwen3-Reranker-0.6B"`.
        backend: `"openvino"`, `"onnx"` or `"torch"`. None picks torch if it can use a GPU (CUDA), otherwise onnx, or
            torch if the model has no ONNX file. None picks openvino only where it is faster: if the CPU has bfloat16
            and the model has no int8 file that suits it. Pass openvino for scores closer to float32 than int8 gives.
        device: such as `"cpu"`, `"cuda"`, `"cuda:1"` or `"mps"`. None means the CPU with openvino and onnx, and the
            best available device with torch. On any device other than the CPU, torch is preferred.
        dtype: numeric precision. `"auto"` depends on the backend. With openvino, it is bfloat16 if the CPU has it, else
            float32. With onnx, it is int8 if the model has an int8 file that suits the CPU, else float32. With torch,
            it is float32 on a CPU and a 16-bit type on a GPU. `"int8"` needs onnx, `"bfloat16"` needs openvino or
            torch, and `"float16"` needs torch.
        max_length: maximum tokens of query and document together, special tokens included. A model with a smaller
            window uses its own. A longer document is truncated, and `Ranking.truncated` counts it. A query may take
            up to half; a longer one is truncated to that, and `Ranking.query_truncated` reports it.
        revision: a branch, tag or commit on the hub. Pin a commit to always get the same weights.
        cache_folder: where files from the hub are kept. None means the hub's own cache.
        local_files_only: use cached files only, and never contact the hub.
        onnx_file: the ONNX file to run, as a path in the model's folder or repository, such as
            `"onnx/model_O3.onnx"`. None picks the best file with a usual name, or the only one. Not for torch.
        trust_remote_code: run Python code that comes with the model. Needs torch. Read the code first.
        token: access token for gated and private models, never shown or pickled. None uses `HF_TOKEN`.
        timeout: seconds for the whole call: queueing, encoding and inference. After that the call raises `TimedOut`
            and leaves the queue, between two batches. If the model is still loading, the call stops waiting; loading
            continues, so a later call finds the model ready. None waits indefinitely. `rank_many` takes the queries in
            passes of about 65,000 tokens, and each pass is a call with this deadline.
        max_waiting: maximum number of calls in the model's queue; one more raises `Overloaded` at once. Running calls
            do not count: as many run at once as there are cores, up to four. Calls from all rerankers that share the
            weights count. None sets no limit.
        instruction: what the model should prefer, such as `"Prefer official documentation"`. Only models with a prompt
            have a place for one; None uses the model's own. Rerankers that differ only in it share their weights.
        label: for a classifier with several labels, the one that means "relevant", by index or name. `score` is then
            that label's softmax. `raw_score` is the logit of that score: the label's own logit minus the log-sum-exp of
            the others. Models with one logit need no label.

    Raises:
        TypeError, ValueError: an argument is invalid, or two arguments conflict.

    `raw_score` is the model's logit and `score` is its sigmoid. Any thread and any event loop may call it.

    The first call may raise `MissingExtra`, or a `ModelError` (such as `HubUnreachable`) that says what is wrong.
    It raises `ValueError` if `max_length` leaves no room for a query and a document, or if the model has no place for
    the `instruction`. An engine that fails while running raises `InferenceFailed`. `HubUnreachable`,
    `InferenceFailed`, `TimedOut` and `Overloaded` are transient: `Fallback` moves on to its next reranker.
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
        instruction: str | None = None,
        label: int | str | None = None,
    ) -> None:
        self._settings = checked_settings(
            ModelSettings(
                model=checked_model(model),
                backend=backend,
                device=device,
                dtype=dtype,
                max_length=integer("max_length", max_length, unit="token"),
                revision=revision,
                cache_folder=None if cache_folder is None else os.fspath(cache_folder),
                local_files_only=local_files_only,
                onnx_file=onnx_file,
                trust_remote_code=trust_remote_code,
                label=None if label is None else checked_label(label),
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
        self.local_files_only = self._settings.local_files_only
        self.onnx_file = onnx_file
        self.trust_remote_code = self._settings.trust_remote_code
        self.timeout = None if timeout is None else _checked_timeout(timeout)
        self.max_waiting = (
            None
            if max_waiting is None
            else integer("max_waiting", max_waiting, at_least=0, unit="calls", advice="None sets no limit")
        )
        self.instruction = text_or_none("instruction", instruction)
        self.label = self._settings.label

    @property
    def name(self) -> str:
        return self.model

    @property
    def engine(self) -> str:
        """Which engine runs the model, such as `"onnx"`. Loads the model if necessary."""
        return self._runner().model(self.timeout).engine.backend

    @property
    def engine_file(self) -> str | None:
        """Which ONNX file runs, such as `"onnx/model.onnx"`; None with torch. Loads the model if necessary."""
        return self._runner().model(self.timeout).engine.file

    def identifying_parameters(self) -> dict[str, object]:
        return {name: value for name, value in self.parameters().items() if name not in ("timeout", "max_waiting")}

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """How many tokens each text has, excluding special tokens. Loads the model if necessary."""
        return self._runner().model(self.timeout).encoder.count_tokens(texts)

    def document_room(self, query: str) -> int:
        """How many tokens of a document fit beside the (truncated) `query`. Loads the model if necessary."""
        return self._runner().model(self.timeout).encoder.document_room(query, self.instruction)

    def score_many(self, questions: Sequence[Question]) -> Sequence[Scores]:
        return self._runner().score(
            questions, instruction=self.instruction, seconds=self.timeout, max_waiting=self.max_waiting
        )

    async def ascore_many(self, questions: Sequence[Question]) -> Sequence[Scores]:
        return await self._runner().ascore(
            questions, instruction=self.instruction, seconds=self.timeout, max_waiting=self.max_waiting
        )

    def warm_up(self) -> None:
        """Load the weights and run a few batches, so that the first `rank` takes no longer than the second.

        There is no deadline. Raises what the first call would raise if the model cannot be loaded.
        """
        with traced(self.name, None, len(_WARM_UP[0][1]), None, self.instruction):
            self._runner().score(_WARM_UP, instruction=self.instruction)

    async def awarm_up(self) -> None:
        """Like `warm_up`, without blocking the event loop."""
        with traced(self.name, None, len(_WARM_UP[0][1]), None, self.instruction):
            await self._runner().ascore(_WARM_UP, instruction=self.instruction)

    def close(self) -> None:
        """Free the weights once waiting calls have finished, unless another reranker uses them."""
        runner = release(self._settings, self)
        if runner is not None:
            runner.close()

    async def aclose(self) -> None:
        """Like `close`, without blocking the event loop."""
        runner = release(self._settings, self)
        if runner is not None:
            await runner.aclose()

    def _runner(self) -> ModelRunner:
        return acquire(self._settings, self)

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_settings": replace(self._settings, token=None)}

    def __copy__(self) -> Self:
        copy = type(self).__new__(type(self))
        copy.__dict__.update(self.__dict__)  # within this process a copy may keep the token
        return copy

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        return self.__copy__()


def _checked_timeout(timeout: float) -> float:
    seconds = number("timeout", timeout)
    if not (math.isfinite(seconds) and seconds > 0):
        raise ValueError(f"timeout must be a positive, finite number of seconds or None, got {timeout!r}")
    return seconds
