"""Turns a packed model back into the network, so that training can continue from what was shipped.

A graph has none of the network's names, stores some weights transposed, and has constants folded. But the same network
with other numbers becomes the same graph. So a network with random numbers is packed, too: the places where these
numbers turn up are where the shipped weights went.
"""

from __future__ import annotations

import copy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from training.int8 import round_matrices
from training.network import CrossEncoder
from training.pack import pack
from training.states import Pair

__all__ = ["unpack"]

Constants = dict[str, NDArray[Any]]


def unpack(folder: Path, model: CrossEncoder, tokenizer: Tokenizer, pair: Pair) -> dict[str, Tensor]:
    """Return the state of the network that was packed into `folder`.

    `model` has the same shape and is not changed. `pair` is any example for packing.

    Raises:
        ValueError: the graph in `folder` is not that of such a network.
    """
    random = copy.deepcopy(model)
    with torch.no_grad():
        for tensor in random.state_dict().values():
            if tensor.is_floating_point():
                tensor.uniform_(0.5, 1.5)
            else:
                tensor.random_(0, min(256, len(random.splade.bias)))  # some are word ids
    round_matrices(random)
    with TemporaryDirectory() as temporary:
        pack(random, tokenizer, [pair], Path(temporary))
        nodes, theirs = _read(Path(temporary))
    found, ours = _read(folder)
    if found != nodes:
        raise ValueError(f"the graph in {folder} has not the nodes of this network; it was packed from another one")
    return {name: _find(name, tensor, theirs, ours) for name, tensor in random.state_dict().items()}


def _read(folder: Path) -> tuple[list[tuple[str, ...]], Constants]:
    """Return the nodes of the float graph, and its constants as floats."""
    graph = onnx.load(folder / "onnx/model.onnx").graph
    constants = {one.name: onnx.numpy_helper.to_array(one) for one in graph.initializer}
    for node in graph.node:
        if node.op_type == "DequantizeLinear":
            values, scale, zero = (constants[name] for name in node.input)
            constants[node.output[0]] = (values.astype(np.float32) - zero) * scale
    return [(node.op_type, *node.input, *node.output) for node in graph.node], constants


def _find(name: str, random: Tensor, theirs: Constants, ours: Constants) -> Tensor:
    """Return what `ours` has in the place where `theirs` has `random`: as a whole, or else row by row."""
    for place, value in theirs.items():
        for turn in (np.asarray, np.transpose):
            if turn(value).shape == random.shape and np.allclose(turn(value), random.numpy(), rtol=1e-4):
                return torch.from_numpy(np.array(turn(ours[place]))).to(random.dtype)
    if not random.ndim:
        raise ValueError(f"{name} is nowhere in the graph")
    return torch.stack([_find(name, one, theirs, ours) for one in random])
