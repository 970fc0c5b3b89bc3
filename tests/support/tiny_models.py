"""Tiny cross-encoders, BERT or XLM-RoBERTa, with seeded random weights.

The ONNX graph and the safetensors file hold the same weights, so both engines can load one folder and must agree.
Neither torch nor transformers is needed: this module writes the graph operator by operator.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

HIDDEN, HEADS, LAYERS, INNER, POSITIONS = 32, 4, 2, 64, 64
WORDS = ["the", "a", "of", "how", "do", "i", "rotate", "an", "api", "key", "invoice", "month", "create", "revoke"]
WORDS += ["one", "and", "then", "weather", "is", "nice"]
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"

Weights = dict[str, np.ndarray]
Operand = str | np.ndarray | np.int64 | float | list[int]
MakeModel = Callable[..., Path]


def bert_tokenizer() -> Tokenizer:
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS, *(f"##{c}" for c in LETTERS)]
    vocabulary += [word for word in WORDS if len(word) > 1]
    tokenizer = Tokenizer(models.WordPiece({t: i for i, t in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    tokenizer.enable_truncation(20)  # as in many published tokenizer.json files; loading must switch off both
    tokenizer.enable_padding(length=20)
    return tokenizer


def xlm_roberta_tokenizer() -> Tokenizer:
    pieces = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -3.0)]
    pieces += [(letter, -5.0) for letter in LETTERS] + [(f"▁{word}", -4.0) for word in WORDS]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=3))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(r"\p{Cc}"), "")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return tokenizer


TOKENIZERS = {"bert": bert_tokenizer, "xlm-roberta": xlm_roberta_tokenizer}


def make_weights(kind: str, vocabulary: int, labels: int) -> Weights:
    """Random weights with the names and shapes that transformers uses."""
    random = np.random.default_rng(11)
    weights: Weights = {}

    def linear(name: str, outputs: int, inputs: int) -> None:
        weights[f"{name}.weight"] = random.normal(0, 0.25, (outputs, inputs))
        weights[f"{name}.bias"] = random.normal(0, 0.1, outputs)

    def norm(name: str) -> None:
        weights[f"{name}.weight"] = random.normal(1, 0.1, HIDDEN)
        weights[f"{name}.bias"] = random.normal(0, 0.1, HIDDEN)

    base = "bert" if kind == "bert" else "roberta"
    sizes = {"word": vocabulary, "position": POSITIONS, "token_type": 2 if kind == "bert" else 1}
    for name, size in sizes.items():
        weights[f"{base}.embeddings.{name}_embeddings.weight"] = random.normal(0, 1, (size, HIDDEN))
    norm(f"{base}.embeddings.LayerNorm")
    for number in range(LAYERS):
        layer = f"{base}.encoder.layer.{number}"
        for name in ("query", "key", "value"):
            linear(f"{layer}.attention.self.{name}", HIDDEN, HIDDEN)
        linear(f"{layer}.attention.output.dense", HIDDEN, HIDDEN)
        norm(f"{layer}.attention.output.LayerNorm")
        linear(f"{layer}.intermediate.dense", INNER, HIDDEN)
        linear(f"{layer}.output.dense", HIDDEN, INNER)
        norm(f"{layer}.output.LayerNorm")
    linear("bert.pooler.dense" if kind == "bert" else "classifier.dense", HIDDEN, HIDDEN)
    linear("classifier" if kind == "bert" else "classifier.out_proj", labels, HIDDEN)
    return {name: array.astype(np.float32) for name, array in weights.items()}


class Graph:
    """An ONNX graph in the making: `graph("Add", a, b)` adds a node and names its result."""

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}

    def __call__(self, operator: str, *inputs: Operand, **attributes: object) -> str:
        names = [value if isinstance(value, str) else self.constant(value) for value in inputs]
        name = f"{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, names, [name], **attributes))
        return name

    def constant(self, value: np.ndarray | np.int64 | float | list[int]) -> str:
        array = np.asarray(value, np.float32 if isinstance(value, float) else None)
        name = f"constant_{len(self.constants)}"
        self.constants[name] = array
        return name

    def linear(self, x: str, name: str) -> str:
        return self("Add", self("MatMul", x, self.weights[f"{name}.weight"].T), self.weights[f"{name}.bias"])

    def norm(self, x: str, name: str) -> str:
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return self("LayerNormalization", x, weight, bias, axis=-1, epsilon=1e-12)

    def heads(self, x: str, permutation: list[int]) -> str:
        return self("Transpose", self("Reshape", x, [0, 0, HEADS, HIDDEN // HEADS]), perm=permutation)


def make_onnx(kind: str, weights: Weights, pad_id: int) -> onnx.ModelProto:
    """The forward pass of `BertForSequenceClassification` or `XLMRobertaForSequenceClassification`."""
    graph = Graph(weights)
    base = "bert" if kind == "bert" else "roberta"
    embedding = f"{base}.embeddings"
    if kind == "bert":
        length = graph("Gather", graph("Shape", "input_ids"), np.int64(1))
        positions = graph("Range", np.int64(0), length, np.int64(1))
        types = graph("Gather", weights[f"{embedding}.token_type_embeddings.weight"], "token_type_ids")
    else:  # positions start after the padding id and skip padding
        real = graph("Cast", graph("Not", graph("Equal", "input_ids", np.int64(pad_id))), to=TensorProto.INT64)
        count = graph("Mul", graph("CumSum", real, np.int64(1)), real)
        positions = graph("Add", count, np.int64(pad_id))
        types = graph.constant(weights[f"{embedding}.token_type_embeddings.weight"][0])
    words = graph("Gather", weights[f"{embedding}.word_embeddings.weight"], "input_ids")
    places = graph("Gather", weights[f"{embedding}.position_embeddings.weight"], positions)
    x = graph.norm(graph("Add", graph("Add", words, types), places), f"{embedding}.LayerNorm")
    mask = graph("Cast", graph("Unsqueeze", "attention_mask", [1, 2]), to=TensorProto.FLOAT)
    mask = graph("Mul", graph("Sub", 1.0, mask), -1e9)
    for number in range(LAYERS):
        layer = f"{base}.encoder.layer.{number}"
        q, k, v = (graph.linear(x, f"{layer}.attention.self.{name}") for name in ("query", "key", "value"))
        scores = graph("MatMul", graph.heads(q, [0, 2, 1, 3]), graph.heads(k, [0, 2, 3, 1]))
        attention = graph("Softmax", graph("Add", graph("Div", scores, (HIDDEN / HEADS) ** 0.5), mask), axis=-1)
        seen = graph("Transpose", graph("MatMul", attention, graph.heads(v, [0, 2, 1, 3])), perm=[0, 2, 1, 3])
        seen = graph.linear(graph("Reshape", seen, [0, 0, HIDDEN]), f"{layer}.attention.output.dense")
        x = graph.norm(graph("Add", seen, x), f"{layer}.attention.output.LayerNorm")
        inner = graph.linear(x, f"{layer}.intermediate.dense")
        gelu = graph("Mul", inner, graph("Add", graph("Erf", graph("Div", inner, 2.0**0.5)), 1.0))
        inner = graph.linear(graph("Mul", gelu, 0.5), f"{layer}.output.dense")
        x = graph.norm(graph("Add", inner, x), f"{layer}.output.LayerNorm")
    first = graph("Gather", x, np.int64(0), axis=1)
    pooled = graph("Tanh", graph.linear(first, "bert.pooler.dense" if kind == "bert" else "classifier.dense"))
    logits = graph.linear(pooled, "classifier" if kind == "bert" else "classifier.out_proj")
    graph.nodes.append(helper.make_node("Identity", [logits], ["logits"]))
    inputs = ["input_ids", "attention_mask"] + (["token_type_ids"] if kind == "bert" else [])
    proto = helper.make_graph(
        graph.nodes,
        kind,
        [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "sequence"]) for name in inputs],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", None])],
        [numpy_helper.from_array(array, name) for name, array in graph.constants.items()],
    )
    return helper.make_model(proto, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def norms_in_single_operators(graph: onnx.GraphProto) -> None:
    """Write the layer norms as exports with an older operator set have them."""
    graph.initializer.append(numpy_helper.from_array(np.float32(1e-12), "epsilon"))
    nodes = []
    for node in graph.node:
        if node.op_type != "LayerNormalization":
            nodes.append(node)
            continue
        (x, weight, bias), [y] = node.input, node.output
        for operator, inputs, output in (
            ("ReduceMean", [x], f"{y}_mean"),
            ("Sub", [x, f"{y}_mean"], f"{y}_centred"),
            ("Mul", [f"{y}_centred", f"{y}_centred"], f"{y}_squares"),
            ("ReduceMean", [f"{y}_squares"], f"{y}_variance"),
            ("Add", [f"{y}_variance", "epsilon"], f"{y}_safe"),
            ("Sqrt", [f"{y}_safe"], f"{y}_deviation"),
            ("Div", [f"{y}_centred", f"{y}_deviation"], f"{y}_normal"),
            ("Mul", [f"{y}_normal", weight], f"{y}_weighted"),
            ("Add", [f"{y}_weighted", bias], y),
        ):
            nodes.append(helper.make_node(operator, inputs, [output]))
            if operator == "ReduceMean":
                nodes[-1].attribute.append(helper.make_attribute("axes", [-1]))
    del graph.node[:]
    graph.node.extend(nodes)


def save_safetensors(weights: Weights, path: Path) -> None:
    """Write the whole format: 8 bytes with the header's length, a JSON header, the data."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, array in weights.items():
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [offset, offset + array.nbytes]}
        offset += array.nbytes
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(array.tobytes() for array in weights.values()))


def write_model(
    folder: Path,
    *,
    kind: str = "bert",
    labels: int = 1,
    nan: bool = False,
    onnx_file: str | None = "onnx/model.onnx",
    config: dict[str, object] | None = None,
) -> Path:
    tokenizer = TOKENIZERS[kind]()
    weights = make_weights(kind, tokenizer.get_vocab_size(), labels)
    if nan:
        next(iter(weights.values()))[:] = np.nan
    padding = "[PAD]" if kind == "bert" else "<pad>"
    pad_id = tokenizer.get_vocab()[padding]
    folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "model_type": kind,
        "architectures": [f"{'Bert' if kind == 'bert' else 'XLMRoberta'}ForSequenceClassification"],
        "id2label": {str(label): f"LABEL_{label}" for label in range(labels)},
        "label2id": {f"LABEL_{label}": label for label in range(labels)},
        "vocab_size": tokenizer.get_vocab_size(),
        "hidden_size": HIDDEN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "intermediate_size": INNER,
        "max_position_embeddings": POSITIONS,
        "type_vocab_size": 2 if kind == "bert" else 1,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,
        "pad_token_id": pad_id,
        "bos_token_id": None if kind == "bert" else 0,
        "eos_token_id": None if kind == "bert" else 2,
        **(config or {}),
    }
    tokenizer_settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": 512,
        "pad_token": padding,
        "model_input_names": ["input_ids", "attention_mask"] + (["token_type_ids"] if kind == "bert" else []),
    }
    (folder / "config.json").write_text(json.dumps(settings))
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer_settings))
    tokenizer.save(str(folder / "tokenizer.json"))
    save_safetensors(weights, folder / "model.safetensors")
    if onnx_file is not None:
        (folder / onnx_file).parent.mkdir(exist_ok=True)
        onnx.save(make_onnx(kind, weights, pad_id), folder / onnx_file)
    return folder


@pytest.fixture
def make_model(tmp_path: Path) -> MakeModel:
    """Write a tiny cross-encoder to a folder of this test: `make_model(kind="bert", labels=1, ...)`."""
    return lambda name="model", **options: write_model(tmp_path / name, **options)


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with a tiny BERT cross-encoder: 64 positions, 2 layers, ONNX and safetensors."""
    return str(write_model(tmp_path_factory.mktemp("tiny") / "bert"))


@pytest.fixture(scope="session")
def tiny_xlm_roberta(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same for XLM-RoBERTa: 64 positions hold 62 tokens, and the padding id is 1."""
    return str(write_model(tmp_path_factory.mktemp("tiny") / "xlm-roberta", kind="xlm-roberta"))


@pytest.fixture(params=["bert", "xlm-roberta"])
def tiny_model(request: pytest.FixtureRequest) -> str:
    """Either tiny model."""
    folder: str = request.getfixturevalue("tiny_" + request.param.replace("-", "_"))
    return folder


def break_inside(folder: Path) -> Path:
    """Hard-code a shape inside the graph but keep its inputs dynamic, as a traced export can."""
    path = folder / "onnx/model.onnx"
    model = onnx.load(path)
    for node in model.graph.node:
        node.input[:] = ["fixed" if name == "input_ids" else name for name in node.input]
    shape = numpy_helper.from_array(np.array([1, 5], np.int64), "its_shape")
    model.graph.initializer.append(shape)
    model.graph.node.insert(0, helper.make_node("Reshape", ["input_ids", "its_shape"], ["fixed"]))
    onnx.save(model, path)
    return folder
