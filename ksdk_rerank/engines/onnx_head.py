"""Runs the head of a modular cross-encoder in numpy, beside an ONNX graph that holds only its encoder.

sentence-transformers' own ONNX export writes the first module only
(github.com/huggingface/sentence-transformers/issues/3258, 2026-11-26), and repositories carry such files.

Follows sentence-transformers 6.2 (sentence_transformer/modules/pooling.py, base/modules/dense.py). But: it knows only
the modules and activations of published cross-encoders, and reads safetensors files only. `export` has no such limits.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ksdk_rerank.engines.batching import Batch
from ksdk_rerank.engines.files import Files, check_start, damaged, read_json
from ksdk_rerank.engines.model_config import ModelKind, model_kind, modules_of
from ksdk_rerank.errors import UnsupportedModel

__all__ = ["Head", "head_of"]

Array = NDArray[np.float32]
Step = Callable[[Array, Array], Array]
"""From vectors and the batch's mask to vectors."""

_erf = np.vectorize(math.erf, otypes=[np.float32])
_ACTIVATIONS: Mapping[str, Callable[[Array], Array]] = {
    "Identity": lambda x: x,
    "Tanh": np.tanh,
    "ReLU": lambda x: np.maximum(x, 0),
    "SiLU": lambda x: x / (1 + np.exp(-x)),
    "GELU": lambda x: x * (1 + _erf(x / np.float32(math.sqrt(2)))) / 2,
}
_EPSILON = 1e-5
"""The default of `torch.nn.LayerNorm`, which sentence-transformers keeps."""
_DTYPES = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}


class Head:
    """The modules after the encoder: Pooling, Dense and LayerNorm. Threads may share it.

    Raises:
        UnsupportedModel: numpy cannot run one of them.
        ModelError: one of their files is damaged.
    """

    def __init__(self, files: Files, model: str) -> None:
        self._steps = []
        for module in modules_of(files, model)[1:]:
            path = files.find(module.file("model.safetensors"))
            weights = {} if path is None else _read_tensors(path)
            try:
                self._steps.append(_STEPS[module.name](read_json(files.find(module.file("config.json"))), weights))
            except KeyError as error:  # an unknown module, setting or activation, or a missing tensor
                raise UnsupportedModel(
                    f"the ONNX file of {model} holds only the encoder, and its head needs torch (in its module"
                    f" {module.name}, {error} is unknown or missing); {_ways_out(model)}"
                ) from error

    def __call__(self, hidden: NDArray[np.floating], batch: Batch) -> Array:
        """The scores of a batch, before any activation, from the encoder's token vectors."""
        x, mask = np.asarray(hidden, np.float32), batch.mask[..., None].astype(np.float32)
        for step in self._steps:
            x = step(x, mask)
        return x


def head_of(shape: Sequence[object], path: Path, files: Files, model: str) -> Head | None:
    """The head that a graph lacks, judged by the shape of its first output; None if the graph outputs logits.

    Raises:
        UnsupportedModel: the graph outputs token vectors, and the files have no head, or one that numpy cannot run.
        ModelError: a file of the head is damaged.
    """
    if len(shape) != 3 or shape[2] == 1:
        return None
    if model_kind(files, model) is not ModelKind.MODULAR:
        raise UnsupportedModel(
            f"{path} outputs a vector for each token, not a logit: it holds the encoder without the head;"
            f" {_ways_out(model)}"
        )
    return Head(files, model)


def _ways_out(model: str) -> str:
    return f'pass backend="torch", or write a complete ONNX file with: ksdk-rerank export {model} FOLDER'


def _pooling(settings: Mapping[str, object], _: Mapping[str, Array]) -> Step:
    poolings: dict[object, Step] = {
        "cls": lambda x, mask: x[:, 0],  # batches are padded on the right
        "mean": lambda x, mask: (x * mask).sum(axis=1) / mask.sum(axis=1),
    }
    return poolings[settings.get("pooling_mode")]


def _dense(settings: Mapping[str, object], weights: Mapping[str, Array]) -> Step:
    activation = _ACTIVATIONS[str(settings["activation_function"]).rpartition(".")[2]]
    if settings.get("module_input_name", "sentence_embedding") != "sentence_embedding":
        raise KeyError(settings["module_input_name"])
    weight, bias = weights["linear.weight"], weights["linear.bias"] if settings.get("bias", True) else np.float32(0)
    if not settings.get("use_residual"):
        return lambda x, mask: activation(x @ weight.T + bias)
    residual = weights.get("residual.weight", np.eye(len(weight), dtype=np.float32))
    return lambda x, mask: activation(x @ weight.T + bias) + x @ residual.T


def _layer_norm(_: Mapping[str, object], weights: Mapping[str, Array]) -> Step:
    weight, bias = weights["norm.weight"], weights["norm.bias"]

    def run(x: Array, mask: Array) -> Array:
        centred = x - x.mean(axis=-1, keepdims=True)
        scale = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + np.float32(_EPSILON))
        result: Array = centred / scale * weight + bias
        return result

    return run


_STEPS = {"Pooling": _pooling, "Dense": _dense, "LayerNorm": _layer_norm}


def _read_tensors(path: Path) -> dict[str, Array]:
    """The tensors of a safetensors file, as float32.

    Follows https://huggingface.co/docs/safetensors (2026-11-26): 8 bytes with the header's length, a JSON header, data.
    """
    check_start(path)
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    tensors = {}
    try:
        for name, tensor in json.loads(content[8:start]).items():
            if name == "__metadata__":
                continue
            first, last = tensor["data_offsets"]
            array = np.frombuffer(content[start + first : start + last], _DTYPES[tensor["dtype"]])
            if tensor["dtype"] == "BF16":  # the upper half of a float32
                array = (array.astype(np.uint32) << 16).view(np.float32)
            tensors[name] = array.reshape(tensor["shape"]).astype(np.float32)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise damaged(path, f"is not a safetensors file of floats, or is incomplete ({error!r})") from error
    return tensors
