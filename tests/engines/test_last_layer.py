"""`restrict_last_layer`: the same logits, from the first token alone in the last layer."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper
from tiny_models import LAYERS, MakeModel, norms_in_single_operators

from ksdk_rerank.engines.last_layer import restrict_last_layer

PAIRS, TOKENS = 3, 7


@pytest.fixture
def graph_of(make_model: MakeModel) -> Callable[..., onnx.ModelProto]:
    return lambda kind="bert": onnx.load(make_model(kind=kind) / "onnx/model.onnx")


def run(model: onnx.ModelProto, *outputs: str) -> list[NDArray[np.float32]]:
    """Run a graph on pairs of several lengths, padded."""
    draws = np.random.default_rng(0)
    lengths = np.arange(TOKENS, TOKENS - PAIRS, -1)[:, None]
    mask = (np.arange(TOKENS) < lengths).astype(np.int64)
    ids = np.where(mask, draws.integers(5, 40, mask.shape), 1)
    arrays = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found: list[NDArray[np.float32]] = session.run(
        list(outputs) or None, {each.name: arrays[each.name] for each in session.get_inputs()}
    )
    return found


def tokens_in_products(model: onnx.ModelProto) -> list[int]:
    """How many tokens each product with weights gets, in the graph's order."""
    stored = {tensor.name for tensor in model.graph.initializer}
    inputs = [node.input[0] for node in model.graph.node if node.op_type == "MatMul" and node.input[1] in stored]
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    watched.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in dict.fromkeys(inputs)
    )
    values = dict(zip(dict.fromkeys(inputs), run(watched)[1:], strict=True))
    return [values[name].shape[1] for name in inputs if values[name].ndim == 3]


@pytest.mark.parametrize("kind", ["bert", "xlm-roberta"])
def test_only_keys_and_values_of_the_last_layer_come_from_all_tokens(
    graph_of: Callable[..., onnx.ModelProto], kind: str
) -> None:
    model = graph_of(kind)
    before = run(model)
    assert tokens_in_products(model) == [TOKENS] * 6 * LAYERS
    assert restrict_last_layer(model) > 0
    query, key, value, *rest = [1, TOKENS, TOKENS, 1, 1, 1]
    assert tokens_in_products(model) == [TOKENS] * 6 * (LAYERS - 1) + [query, key, value, *rest]
    np.testing.assert_allclose(run(model), before, atol=1e-5)
    onnx.checker.check_model(model)


def test_a_layer_norm_in_single_operators_is_restricted_too(graph_of: Callable[..., onnx.ModelProto]) -> None:
    model = graph_of()
    norms_in_single_operators(model.graph)
    before = run(model)
    restrict_last_layer(model)
    assert tokens_in_products(model)[-3:] == [1, 1, 1]
    np.testing.assert_allclose(run(model), before, atol=1e-5)


def test_an_operator_in_an_unknown_form_stays_whole(graph_of: Callable[..., onnx.ModelProto]) -> None:
    """From operator set 18 on, the axes of a mean are an input."""
    model = graph_of()
    norms_in_single_operators(model.graph)
    model = onnx.version_converter.convert_version(model, 18)
    before = run(model)
    assert restrict_last_layer(model) > 0
    assert tokens_in_products(model)[-3:] == [TOKENS, TOKENS, TOKENS]
    np.testing.assert_allclose(run(model), before, atol=1e-5)


def test_a_restricted_graph_stays_as_it_is(graph_of: Callable[..., onnx.ModelProto]) -> None:
    model = graph_of()
    restrict_last_layer(model)
    before = model.SerializeToString()
    assert restrict_last_layer(model) == 0
    assert model.SerializeToString() == before


def test_what_is_read_elsewhere_too_stays_whole(graph_of: Callable[..., onnx.ModelProto]) -> None:
    model = graph_of()
    norm = next(node for node in reversed(model.graph.node) if node.op_type == "LayerNormalization")
    model.graph.output.append(helper.make_tensor_value_info(norm.output[0], TensorProto.FLOAT, None))
    before = model.SerializeToString()
    assert restrict_last_layer(model) == 0
    assert model.SerializeToString() == before


def test_a_head_that_reads_all_tokens_is_left_alone(graph_of: Callable[..., onnx.ModelProto]) -> None:
    model = graph_of()
    first = next(node for node in reversed(model.graph.node) if node.op_type == "Gather")
    first.CopyFrom(helper.make_node("ReduceMax", [first.input[0]], first.output, axes=[1], keepdims=0))
    assert restrict_last_layer(model) == 0


def test_a_graph_with_a_branch_is_left_alone(graph_of: Callable[..., onnx.ModelProto]) -> None:
    """A branch may read any value."""
    model = graph_of()
    same = helper.make_node("Identity", [model.graph.node[-1].input[0]], ["same"])
    branch = helper.make_graph([same], "branch", [], [helper.make_tensor_value_info("same", TensorProto.FLOAT, None)])
    model.graph.initializer.append(helper.make_tensor("always", TensorProto.BOOL, [], [True]))
    last = helper.make_node("If", ["always"], model.graph.node[-1].output, then_branch=branch, else_branch=branch)
    model.graph.node[-1].CopyFrom(last)
    assert restrict_last_layer(model) == 0
