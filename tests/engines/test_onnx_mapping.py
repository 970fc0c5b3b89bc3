"""Weights inside an ONNX file are mapped into memory, where the processes of a machine share them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from onnx.external_data_helper import load_external_data_for_model
from tiny_models import MakeModel

from ksdk_rerank import CrossEncoderReranker
from ksdk_rerank.engines.onnx_mapping import graph_without_weights

PROGRAM = """
import sys
from ksdk_rerank import CrossEncoderReranker
CrossEncoderReranker(sys.argv[1], backend="onnx").rank("the key", ["a key"])
print(*(line.split()[-1] for line in open("/proc/self/maps") if ".onnx" in line), sep="\\n")
"""


def test_a_graph_without_its_weights_is_small_and_refers_to_them(make_model: MakeModel) -> None:
    path = make_model() / "onnx/model.onnx"
    graph = onnx.load_model_from_string(graph_without_weights(path))
    assert graph.ByteSize() < path.stat().st_size / 4
    load_external_data_for_model(graph, str(path.parent))
    for tensor in graph.graph.initializer:
        tensor.ClearField("data_location")
        tensor.ClearField("external_data")
    assert graph == onnx.load(path)


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="no list of mapped files here")
def test_a_process_maps_the_weights_of_the_file_that_it_loads(tiny_bert: str) -> None:
    command = [sys.executable, "-c", PROGRAM, tiny_bert]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == {str(Path(tiny_bert, "onnx/model.onnx"))}


def test_a_file_behind_a_link_is_loaded_as_from_a_hubs_cache(make_model: MakeModel, tmp_path: Path) -> None:
    folder = make_model()
    expected = CrossEncoderReranker(str(folder), backend="onnx").score("the key", ["a key"])
    path = folder / "onnx/model.onnx"
    path.rename(tmp_path / "blob")
    path.symlink_to(tmp_path / "blob")
    assert CrossEncoderReranker(str(folder), backend="onnx", max_length=63).score("the key", ["a key"]) == expected
