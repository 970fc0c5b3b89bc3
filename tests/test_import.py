"""Importing the core costs next to nothing (promise 12), and its public names are what `__all__` says."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import ksdk_rerank
from ksdk_rerank._exports import MODULES

HEAVY = (
    "importlib.metadata",
    "numpy",
    "torch",
    "onnxruntime",
    "openvino",
    "tokenizers",
    "httpx",
    "cohere",
    "langchain_core",
    "llama_index",
)


def modules_after(statement: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after `statement`."""
    code = f"import sys; {statement}; print(*sys.modules, sep='\\n')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "statement",
    [
        "import ksdk_rerank",
        "from ksdk_rerank import LexicalReranker; LexicalReranker().rank('q', ['a'])",
        "from ksdk_rerank import CrossEncoderReranker; CrossEncoderReranker()",
        "from ksdk_rerank import load_reranker; load_reranker('cross-encoder/ms-marco-MiniLM-L-6-v2')",
    ],
)
def test_nothing_heavy_is_imported_before_it_is_needed(statement: str) -> None:
    assert not modules_after(statement) & set(HEAVY)


def test_the_first_asynchronous_call_imports_nothing_on_the_event_loop(tiny_bert: Path) -> None:
    code = f"""
import asyncio, sys, threading
from ksdk_rerank import CrossEncoderReranker

class Watch:
    def find_spec(self, name, *rest):
        if threading.current_thread() is threading.main_thread():
            print(name)

reranker = CrossEncoderReranker({str(tiny_bert)!r}, backend="onnx")

async def main():
    sys.meta_path.insert(0, Watch())
    await reranker.arank("key", ["a key"])
    sys.meta_path.pop(0)

asyncio.run(main())
assert "onnxruntime" in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == ""


def test_the_client_imports_no_framework() -> None:
    loaded = modules_after("from ksdk_rerank import KnowledgeSDKClient; KnowledgeSDKClient('key')")
    assert not loaded & {"numpy", "torch", "onnxruntime", "langchain_core", "llama_index"}


def test_a_configuration_imports_only_the_classes_that_it_names() -> None:
    loaded = modules_after("from ksdk_rerank import from_config; from_config({'class': 'LexicalReranker'})")
    assert "ksdk_rerank.rerankers.lexical" in loaded
    assert not loaded & {"ksdk_rerank.rerankers.cross_encoder", "ksdk_rerank.compose.cached", "pydantic"}


def test_every_public_name_is_there_and_listed() -> None:
    for name in ksdk_rerank.__all__:
        assert getattr(ksdk_rerank, name) is not None
        assert name in dir(ksdk_rerank)
    assert set(ksdk_rerank.__all__) == {*MODULES, "__version__"}


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        ksdk_rerank.nothing  # noqa: B018


def test_every_module_says_what_is_public_and_what_it_is_for() -> None:
    for module in pkgutil.walk_packages(ksdk_rerank.__path__, "ksdk_rerank."):
        if module.name.endswith("__main__"):
            continue
        try:
            loaded = importlib.import_module(module.name)
        except ImportError:  # needs an extra that is not installed
            continue
        assert loaded.__doc__, module.name
        for name in getattr(loaded, "__all__", []):
            value = getattr(loaded, name)
            assert value.__doc__ or not (inspect.isclass(value) or inspect.isfunction(value)), (module.name, name)
