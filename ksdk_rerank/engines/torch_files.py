"""Checks files before sentence-transformers and transformers load them: their errors do not always name the file."""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from safetensors import SafetensorError, safe_open

from ksdk_rerank.engines.files import (
    WEIGHTS,
    Files,
    check_start,
    damaged,
    decoded,
    read_json,
    read_tokenizer,
)
from ksdk_rerank.engines.model_config import Module
from ksdk_rerank.errors import UnsupportedModel

__all__ = ["check_files", "check_weights_of_head", "readable"]

# File names from the loaders of sentence-transformers 6.2.0 and transformers 5.24.0.
_OBJECTS = (
    *("config.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("config_sentence_transformers.json", "sentence_bert_config.json"),
)
_WEIGHTS_OF_MODULE = ("model.safetensors", "pytorch_model.bin")
_VOCABULARIES = (
    *("vocab.txt", "vocab.json", "merges.txt"),
    *("sentencepiece.bpe.model", "spiece.model", "spm.model", "tokenizer.model"),
)
_MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)
_HEAD = re.compile(r"(^|\.)(classifier|score|classification_head|logits_proj)\b.*weight$")


def check_files(files: Files, modules: Sequence[Module] = ()) -> None:
    """Fetch the files that torch will load, as far as the model has them, and check each one.

    Args:
        files: the model's files.
        modules: its sentence-transformers modules, if it runs as a chain of them.

    Raises:
        ModelNotFound: a file cannot be fetched.
        UnsupportedModel: it has only ONNX files.
        ModelError: a file is damaged.
    """
    for name in _OBJECTS:
        read_json(files.find(name))
    tokenizer = files.find("tokenizer.json")
    if tokenizer is not None:
        read_tokenizer(tokenizer)
    else:
        for name in _VOCABULARIES:
            vocabulary = files.find(name)
            if vocabulary is not None:
                check_start(vocabulary)
    weights = _weights(files)
    if not weights and files.failure is not None:
        raise files.failure
    for module in modules:
        if module.path:
            read_json(files.find(module.file("config.json")))
            found = (files.find(module.file(name)) for name in _WEIGHTS_OF_MODULE)
            weights += [path for path in found if path is not None][:1]
    if not weights and (graphs := files.graphs()):
        install = "" if find_spec("onnxruntime") else 'pip install "ksdk-rerank[local]", and '
        raise UnsupportedModel(
            f"{files.location} has no weights that torch can load, only {', '.join(graphs)}; {install}leave backend,"
            " device and dtype at their defaults"
        )
    for path in weights:
        check_start(path)
        if path.suffix == ".safetensors":
            _tensors(path)


def check_weights_of_head(files: Files, model: str) -> None:
    """Raise `UnsupportedModel` if the weights have no classification head.

    Without this check, transformers would add a head of random numbers. Only safetensors files are checked.
    """
    paths = [path for path in _weights(files) if path.suffix == ".safetensors"]
    if paths and not any(_HEAD.search(name) for path in paths for name in _tensors(path)):
        raise UnsupportedModel(
            f"{model} is not a cross-encoder: its config.json names no architecture, and its weights have no"
            " classification head; use a cross-encoder with one logit, such as cross-encoder/ms-marco-MiniLM-L-6-v2"
        )


@contextmanager
def readable(files: Files) -> Iterator[str]:
    """A location that transformers can read: `files.location`, or a temporary copy without byte order marks.

    transformers cannot read JSON files with a byte order mark. If a local folder has any, the temporary folder holds
    them without the mark, and symlinks to all other files. It is deleted at the end of the block.
    """
    folder = Path(files.location)
    texts = folder.glob("*.json") if files.revision is None else ()
    marked = {path for path in texts if path.is_file() and _is_marked(path)}
    if not marked:
        yield files.location
        return
    with TemporaryDirectory(prefix="ksdk-rerank-") as temporary:
        for path in folder.iterdir():
            if path in marked:
                Path(temporary, path.name).write_text(decoded(path), encoding="utf-8")
            else:
                os.symlink(path.absolute(), Path(temporary, path.name))
        yield temporary


def _is_marked(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4).startswith(_MARKS)


def _weights(files: Files) -> list[Path]:
    """The files from which transformers loads the weights; several if they are sharded."""
    for name in WEIGHTS:
        path = files.find(name)
        if path is None:
            continue
        if path.suffix != ".json":
            return [path]
        shards = read_json(path).get("weight_map")
        if not isinstance(shards, Mapping) or not all(isinstance(shard, str) for shard in shards.values()):
            raise damaged(path, "has no file names in weight_map")
        return [_shard(files, path, shard) for shard in sorted(set(shards.values()))]
    return []


def _shard(files: Files, index: Path, name: str) -> Path:
    path = files.find(name)
    if path is None:
        raise damaged(index, f"refers to {name}, which is missing")
    return path


def _tensors(path: Path) -> list[str]:
    """Tensor names in a safetensors file. Raises `ModelError` if its header does not match its size."""
    try:
        with safe_open(path, "np") as tensors:
            return list(tensors.keys())
    except (SafetensorError, OSError, ValueError) as error:
        raise damaged(path, f"is not a safetensors file, or is incomplete ({error})") from error
