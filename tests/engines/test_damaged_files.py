"""Every file that an engine reads, in every state that a download, an editor or a checkout leaves behind."""

from __future__ import annotations

import codecs
import json
import os
import random
import re
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import onnx
import pytest
from tiny_models import WORDS, MakeModel
from tokenizers import Tokenizer, models, pre_tokenizers

from ksdk_rerank import Fallback
from ksdk_rerank.engines import files
from ksdk_rerank.engines.onnx_graph import read_graph
from ksdk_rerank.errors import InferenceFailed, ModelError
from ksdk_rerank.rerankers.cross_encoder import CrossEncoderReranker

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")

ENGINES = [
    pytest.param(backend, marks=pytest.mark.skipif(find_spec(package) is None, reason=f"needs {package}"))
    for backend, package in [("onnx", "onnxruntime"), ("openvino", "openvino"), ("torch", "sentence_transformers")]
]
OPENS_GRAPHS = ENGINES[:2]

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22e\nsize 90\n"
PAGE = b"\n<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>"

TEXT_STATES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda content: b"", r"is empty; fetch the model again"),
    "blank": (lambda content: b" \n", r"is blank; fetch the model again"),
    "pointer": (lambda content: POINTER, r"is a git-lfs pointer, not the file itself; run `git lfs pull`"),
    "page": (lambda content: PAGE, r"is a web page, not the file itself; download the file itself"),
    "cut": (
        lambda content: content[: len(content) // 2],
        r"is (not valid JSON|not a usable tokenizer) .*fetch the model again",
    ),
    "latin-1": (lambda content: b'{"name": "caf\xe9 cr\xe8me"}', r"is not valid UTF-8 \(byte 13\).*save it as UTF-8"),
    "binary": (lambda content: bytes(range(256)) * 4, r"is not valid UTF-.*fetch the model again"),
    "list": (lambda content: b"[1, 2]", r"(contains a list, not a JSON object|is not a usable tokenizer)"),
    "number": (lambda content: b"7", r"(contains a number, not a JSON object|is not a usable tokenizer)"),
    "nested": (lambda content: b'{"a":' * 100_000, r"is (nested too deeply|not a usable tokenizer)"),
    "digits": (lambda content: b'{"vocab_size": ' + b"9" * 5000 + b"}", r"is (not valid JSON|not a usable tokenizer)"),
}
TEXTS = ("config.json", "tokenizer_config.json", "tokenizer.json")
OF_TORCH = ("special_tokens_map.json", "added_tokens.json", "sentence_bert_config.json")


def raised(folder: Path, backend: Any) -> str:
    """What a call says that must fail, with an error of ours that names a file or field."""
    with pytest.raises(ModelError) as caught:
        CrossEncoderReranker(str(folder), backend=backend, device="cpu").rank("the key", ["key"])
    assert not caught.value.transient
    return str(caught.value)


@pytest.mark.parametrize("backend", ENGINES)
@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("state", TEXT_STATES)
def test_a_damaged_text_file_is_named_with_what_is_wrong_and_what_to_do(
    make_model: MakeModel, backend: Any, name: str, state: str
) -> None:
    folder = make_model()
    change, message = TEXT_STATES[state]
    path = folder / name
    path.write_bytes(change(path.read_bytes()))
    said = raised(folder, backend)
    assert said.startswith(f"{path} ")
    assert re.search(message, said), said


@pytest.mark.parametrize("name", OF_TORCH)
@pytest.mark.parametrize("state", ["empty", "pointer", "page", "list"])
def test_so_is_one_that_only_torch_reads(make_model: MakeModel, name: str, state: str) -> None:
    pytest.importorskip("sentence_transformers")
    folder = make_model()
    change, _ = TEXT_STATES[state]
    (folder / name).write_bytes(change(b"{}"))
    assert raised(folder, "torch").startswith(f"{folder / name} ")
    assert CrossEncoderReranker(str(folder), backend="onnx").rank("the key", ["key"])


BINARY_STATES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda content: b"", r"is empty; fetch the model again"),
    "pointer": (lambda content: POINTER, r"is a git-lfs pointer, not the file itself; run `git lfs pull`"),
    "page": (lambda content: PAGE, r"is a web page, not the file itself"),
    "half": (lambda content: content[: len(content) // 2], r"is incomplete|is truncated"),
    "short": (lambda content: content[:-1], r"is incomplete|is truncated"),
    "text": (lambda content: b"no graph", r"is not an ONNX graph|is not a safetensors file|is truncated"),
    "zeros": (lambda content: bytes(5000), r"is not an ONNX graph|is not a safetensors file|is truncated"),
}


@pytest.mark.parametrize("backend", OPENS_GRAPHS)
@pytest.mark.parametrize("name", ["onnx/model.onnx", "onnx/model.onnx_data"])
@pytest.mark.parametrize("state", BINARY_STATES)
def test_a_damaged_graph_is_named_and_so_are_its_weights(
    make_model: MakeModel, backend: Any, name: str, state: str
) -> None:
    folder = make_model()
    graph = folder / "onnx/model.onnx"
    if name.endswith("_data"):
        onnx.save(onnx.load(graph), graph, save_as_external_data=True, location="model.onnx_data", size_threshold=1024)
    change, message = BINARY_STATES[state]
    path = folder / name
    path.write_bytes(change(path.read_bytes()))
    said = raised(folder, backend)
    assert said.startswith(f"{path} ")
    assert re.search(message, said), said


@pytest.mark.parametrize("state", BINARY_STATES)
def test_damaged_weights_of_torch_are_named(make_model: MakeModel, state: str) -> None:
    pytest.importorskip("sentence_transformers")
    folder = make_model()
    change, message = BINARY_STATES[state]
    path = folder / "model.safetensors"
    path.write_bytes(change(path.read_bytes()))
    said = raised(folder, "torch")
    assert said.startswith(f"{path} ")
    assert re.search(message, said), said


@pytest.mark.parametrize("state", ["empty", "pointer", "page"])
def test_so_are_those_in_the_older_format(make_model: MakeModel, state: str) -> None:
    pytest.importorskip("sentence_transformers")
    folder = make_model()
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(BINARY_STATES[state][0](b""))
    assert raised(folder, "torch").startswith(f"{folder / 'pytorch_model.bin'} ")


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ({"weight_map": {"a": "model-1.safetensors"}}, r"index\.json refers to model-1\.safetensors, which is missing"),
        ({"weight_map": ["a"]}, r"index\.json has no file names in weight_map"),
        ({}, r"index\.json has no file names in weight_map"),
    ],
)
def test_weights_in_several_files_are_all_looked_for(make_model: MakeModel, index: object, message: str) -> None:
    pytest.importorskip("sentence_transformers")
    folder = make_model()
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert re.search(message, raised(folder, "torch"))


def test_a_vocabulary_that_is_a_pointer_is_not_taken_for_three_tokens(make_model: MakeModel) -> None:
    pytest.importorskip("sentence_transformers")
    folder = make_model()
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_bytes(POINTER)
    assert raised(folder, "torch").startswith(f"{folder / 'vocab.txt'} is a git-lfs pointer")


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
    ],
    ids=["utf-8", "utf-16-le", "utf-16-be", "utf-32"],
)
@pytest.mark.parametrize("backend", ENGINES)
def test_a_byte_order_mark_is_read_as_it_is_meant(
    make_model: MakeModel, tiny_bert: str, backend: Any, mark: bytes, encoding: str
) -> None:
    folder = make_model()
    for name in TEXTS:
        path = folder / name
        path.write_bytes(mark + path.read_text(encoding="utf-8").encode(encoding))
    texts = ["key", "then revoke the key"]
    expected = CrossEncoderReranker(tiny_bert, backend=backend, device="cpu", dtype="float32").score("the key", texts)
    got = CrossEncoderReranker(str(folder), backend=backend, device="cpu", dtype="float32").score("the key", texts)
    assert got.raw == expected.raw


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json", "onnx/model.onnx"])
@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("folder", "is a folder, not a file"),
        ("pipe", "is a device or a pipe, not a file"),
        ("dangling", "is a broken link to /no/such/blob; fetch the model again"),
        ("loop", "cannot be read .*check the path and its permissions"),
    ],
)
def test_what_stands_in_a_files_place_is_named(make_model: MakeModel, name: str, kind: str, message: str) -> None:
    folder = make_model()
    path = folder / name
    path.unlink()
    {"folder": path.mkdir, "pipe": lambda: os.mkfifo(path)}.get(
        kind, lambda: path.symlink_to("/no/such/blob" if kind == "dangling" else path)
    )()
    said = raised(folder, "onnx")
    assert said.startswith(f"{path} ")
    assert re.search(message, said), said


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read every file")
@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "onnx/model.onnx"])
def test_a_file_that_may_not_be_read_is_named(make_model: MakeModel, name: str) -> None:
    folder = make_model()
    (folder / name).chmod(0)
    assert re.search("cannot be read .Permission denied.; check the path", raised(folder, "onnx"))


@pytest.mark.parametrize("backend", ENGINES)
@pytest.mark.parametrize(
    ("file", "fields"),
    [
        ("config.json", {"architectures": 5}),
        ("config.json", {"architectures": [5]}),
        ("config.json", {"architectures": {"0": "BertForSequenceClassification"}}),
        ("config.json", {"id2label": ["LABEL_0"]}),
        ("config.json", {"id2label": None, "label2id": None, "num_labels": "1"}),
        ("config.json", {"max_position_embeddings": "512"}),
        ("config.json", {"max_position_embeddings": True}),
        ("config.json", {"pad_token_id": "0"}),
        ("config.json", {"pad_token_id": [0]}),
        ("tokenizer_config.json", {"model_max_length": "512"}),
        ("tokenizer_config.json", {"model_max_length": [512]}),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else value,
)
def test_a_field_of_the_wrong_type_is_named_with_its_value(
    make_model: MakeModel, backend: Any, file: str, fields: dict[str, object]
) -> None:
    folder = make_model()
    path = folder / file
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))
    field, value = list(fields.items())[-1]
    said = raised(folder, backend)
    assert said.startswith(f"the {file} of {folder} is damaged: {field} is {value!r}, not ")


def test_a_padding_token_that_the_vocabulary_lacks_is_named(make_model: MakeModel) -> None:
    folder = make_model(config={"pad_token_id": 2**70})
    assert f"pad_token_id is {2**70}, not one of the " in raised(folder, "onnx")


def test_fields_that_are_odd_and_still_mean_something_are_read(make_model: MakeModel) -> None:
    folder = make_model(config={"model_type": "bert", "max_position_embeddings": 64.0, "pad_token_id": -1})
    path = folder / "tokenizer_config.json"
    path.write_text(
        json.dumps({**json.loads(path.read_text()), "model_max_length": float("inf"), "pad_token": "[PAD]"})
    )
    assert CrossEncoderReranker(str(folder), backend="onnx").rank("the key", ["key " * 90]).truncated == 1


@pytest.mark.parametrize("kind", [["bert"], {"a": 1}, 7])
def test_a_model_type_that_is_no_name_is_not_in_the_way_of_a_graph(make_model: MakeModel, kind: object) -> None:
    folder = make_model(config={"model_type": kind})
    assert CrossEncoderReranker(str(folder), backend="onnx").rank("the key", ["key"])


@pytest.mark.parametrize(
    "model",
    [
        models.WordLevel({word: number for number, word in enumerate(dict.fromkeys(WORDS))}, unk_token="[UNK]"),
        models.WordPiece({word: number for number, word in enumerate(dict.fromkeys(WORDS))}, unk_token="[UNK]"),
        models.Unigram([("a", 0.0), ("\u2581a", 0.0)], unk_id=None),
    ],
    ids=["words", "pieces", "unigram"],
)
@pytest.mark.parametrize("backend", ENGINES)
def test_a_tokenizer_that_fails_on_unknown_words_is_refused_when_it_is_loaded(
    make_model: MakeModel, backend: Any, model: Any
) -> None:
    folder = make_model()
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    assert raised(folder, backend).startswith(f"{folder / 'tokenizer.json'} is not a usable tokenizer (")


@pytest.mark.parametrize("name", ["~no-such-user/model", "a" * 5000 + "/b/c", "x\0y", "with/many/parts"])
def test_a_path_that_cannot_be_followed_is_an_error_of_ours(name: str) -> None:
    with pytest.raises(ModelError, match=re.escape(name)):
        CrossEncoderReranker(name).rank("the key", ["key"])


def test_a_path_to_a_file_says_to_pass_its_folder(make_model: MakeModel) -> None:
    path = make_model() / "onnx/model.onnx"
    with pytest.raises(ModelError, match=r"is a file; pass its folder.*onnx_file="):
        CrossEncoderReranker(str(path)).rank("the key", ["key"])


def test_whatever_else_a_library_raises_while_loading_is_an_error_of_ours(
    tiny_bert: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(path: Path) -> Tokenizer:
        raise OSError(5, "Input/output error", str(path))

    monkeypatch.setattr("ksdk_rerank.engines.onnx_files.read_tokenizer", broken)
    with pytest.raises(ModelError, match=r"cannot be loaded \(OSError: .*Input/output error.*try another backend"):
        CrossEncoderReranker(tiny_bert, backend="onnx").rank("the key", ["key"])


def test_too_little_memory_while_loading_is_transient(tiny_bert: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def greedy(path: Path) -> Tokenizer:
        raise MemoryError

    monkeypatch.setattr("ksdk_rerank.engines.onnx_files.read_tokenizer", greedy)
    ranking = Fallback([CrossEncoderReranker(tiny_bert, backend="onnx"), "input-order"]).rank("the key", ["key"])
    assert ranking.failures[0].error == InferenceFailed.__name__


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interruption_stays_one(tiny_bert: str, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]) -> None:
    def interrupted(path: Path) -> Tokenizer:
        raise error

    monkeypatch.setattr("ksdk_rerank.engines.onnx_files.read_tokenizer", interrupted)
    with pytest.raises(error):
        CrossEncoderReranker(tiny_bert, backend="onnx").rank("the key", ["key"])


@pytest.mark.parametrize("seed", range(3))
def test_a_graph_with_a_byte_changed_is_read_or_refused(tiny_bert: str, tmp_path: Path, seed: int) -> None:
    content = Path(tiny_bert, "onnx/model.onnx").read_bytes()
    draw = random.Random(seed)
    for _ in range(300):
        changed = bytearray(content)
        changed[draw.randrange(len(content))] = draw.randrange(256)
        path = tmp_path / "model.onnx"
        path.write_bytes(changed[: draw.choice([len(content), draw.randrange(len(content))])])
        with suppress(ModelError):
            assert read_graph(path).operators


def test_json_is_read_as_an_object_or_a_list(tmp_path: Path) -> None:
    path = tmp_path / "modules.json"
    path.write_text('{"a": 1}')
    assert files.read_json(path) == {"a": 1}
    with pytest.raises(ModelError, match=r"modules\.json contains an object, not a JSON list"):
        files.read_list(path)
    assert (files.read_json(None), files.read_list(None)) == ({}, [])
