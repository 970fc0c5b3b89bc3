"""The rate at which a machine multiplies matrices, and the operations that a cross-encoder needs.

Seconds from different machines cannot be compared. What can be is the share of the matrix limit: the operations of the
work per second, divided by those of a large matrix product in the same number format, measured in the same run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from ksdk_rerank.engines.hardware import cores, has_bfloat16

__all__ = ["OPERATIONS", "operations", "products"]

SIZE, REPEATS = 1024, 10
OPERATIONS = cores() * REPEATS * 2 * SIZE**3
"""Multiplications and additions of one call in `products`."""


def products() -> dict[str, Callable[[], object]]:
    """For each number format: a call that multiplies large matrices, on each core its own.

    Threads that share a product would spin while they wait for each other, which counts as processor time.

    The kernels are those of the engines measured: onnxruntime's in float32 and in int8, where activations are unsigned
    and weights signed, and oneDNN's in bfloat16, which torch and OpenVINO share. A format is left out if the processor
    or a package lacks it.
    """
    chance = np.random.default_rng(0)
    found: dict[str, Callable[[], object]] = {}
    if find_spec("onnx"):
        a, b = chance.random((2, SIZE, SIZE), dtype=np.float32)
        found["float32"] = _onnx_product("MatMul", a, b)
        small = chance.integers(0, 64, (2, SIZE, SIZE))  # without VNNI, larger products can overflow
        found["int8"] = _onnx_product("MatMulInteger", small[0].astype(np.uint8), small[1].astype(np.int8))
    if find_spec("torch") and has_bfloat16():
        found["bfloat16"] = _torch_product()
    return found


def _onnx_product(operator: str, a: NDArray[np.generic], b: NDArray[np.generic]) -> Callable[[], object]:
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    kind = helper.np_dtype_to_tensor_dtype(a.dtype)
    result = TensorProto.INT32 if operator == "MatMulInteger" else kind
    graph = helper.make_graph(
        [helper.make_node(operator, ["a", "b"], ["c"])],
        "product",
        [helper.make_tensor_value_info("a", kind, a.shape)],
        [helper.make_tensor_value_info("c", result, a.shape)],
        [numpy_helper.from_array(b, "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda: _on_each_core(lambda: session.run(None, {"a": a}))


def _torch_product() -> Callable[[], object]:
    import torch

    a, b = torch.rand(2, SIZE, SIZE).bfloat16()

    def product() -> None:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # for threads that start from now on
        _on_each_core(lambda: a @ b)
        torch.set_num_threads(threads)  # the libraries that take turns with it keep theirs

    return product


def _on_each_core(product: Callable[[], object]) -> None:
    def repeated(_: int) -> None:
        for _ in range(REPEATS):
            product()

    with ThreadPoolExecutor(cores()) as pool:
        list(pool.map(repeated, range(cores())))


def operations(config: Mapping[str, int], lengths: Sequence[int], *, last_layer_whole: bool = True) -> int:
    """Multiplications and additions in a BERT with this `config` for pairs of these `lengths`, in its matrix products.

    Unless `last_layer_whole`, the last layer is calculated for the first token alone, as in exported graphs.

    Worked example, one pair of n tokens and one layer of width h with an inner width i: keys and values take 4nh²
    operations, queries and the output of attention another 4nh², its two products 4n²h, and the feed-forward part 4nhi.
    With one query only, it is 4nh² + 4h² + 4nh + 4hi. The head is left out.
    """
    width, layers = config["hidden_size"], config["num_hidden_layers"]
    inner = config.get("intermediate_size", 4 * width)

    def layer(length: int, queries: int) -> int:
        return 4 * width * (length * width + queries * width + queries * length + queries * inner)

    return sum((layers - 1) * layer(n, n) + layer(n, n if last_layer_whole else 1) for n in lengths)
