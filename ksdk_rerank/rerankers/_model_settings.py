"""Checks the arguments of `CrossEncoderReranker` that decide which model runs, and how."""

from __future__ import annotations

import os
from pathlib import PurePosixPath, PureWindowsPath
from typing import get_args

from ksdk_rerank._arguments import WrongType, integer, text
from ksdk_rerank.engines.engine import Backend, Dtype, ModelSettings

__all__ = ["checked_label", "checked_model", "checked_settings"]

_RUNS: dict[Dtype, tuple[Backend, ...]] = {"float16": ("torch",), "bfloat16": ("openvino", "torch")}
"""The backends that support a dtype, for dtypes that not every backend supports."""


def checked_model(model: object) -> str:
    """A folder or a hub id as a string. Raises `WrongType` if it is neither a string nor a path."""
    path = os.fspath(model) if isinstance(model, os.PathLike) else model
    if not isinstance(path, str):
        raise WrongType(f"model must be a string or a path, got {model!r:.80}; pass a folder or a hub id")
    return path


def checked_label(label: object) -> int | str:
    """A label's index or name. Raises `WrongType` or `ValueError` if it is neither."""
    return text("label", label) if isinstance(label, str) else integer("label", label, at_least=0, or_none=True)


def checked_settings(settings: ModelSettings) -> ModelSettings:
    """`settings` themselves. Raises `ValueError` if one of them is unknown, or if two of them conflict."""
    if not settings.model.strip():
        raise ValueError("model is blank; pass a folder or a hub id such as cross-encoder/ms-marco-MiniLM-L-6-v2")
    if settings.backend not in (None, *get_args(Backend)):
        raise ValueError(f'backend must be "openvino", "onnx", "torch" or None, got {settings.backend!r}')
    if settings.dtype not in get_args(Dtype):
        raise ValueError(f"dtype must be one of {', '.join(get_args(Dtype))}, got {settings.dtype!r}")
    if settings.backend in ("onnx", "openvino") and settings.trust_remote_code:
        raise ValueError('trust_remote_code=True needs backend="torch"; ONNX files contain no Python code to trust')
    if settings.dtype == "int8" and (settings.backend not in (None, "onnx") or settings.trust_remote_code):
        raise ValueError('dtype="int8" needs backend="onnx", without trust_remote_code')
    if settings.onnx_file is not None:
        _check_onnx_file(settings.onnx_file, settings)
    if settings.backend not in (None, *_RUNS.get(settings.dtype, get_args(Backend))):
        needed = " or ".join(f'backend="{backend}"' for backend in _RUNS[settings.dtype])
        raise ValueError(f"dtype={settings.dtype!r} needs {needed}; {settings.backend} does not support it")
    return settings


def _check_onnx_file(name: str, settings: ModelSettings) -> None:
    if not isinstance(name, str):
        raise TypeError(f"onnx_file must be a path in the model's folder, got {name!r}")
    for path in (PurePosixPath(name), PureWindowsPath(name)):
        if path.is_absolute() or path.drive or path.root or ".." in path.parts or path.suffix.lower() != ".onnx":
            raise ValueError(
                "onnx_file must be the path of an .onnx file in the model's folder, such as onnx/model.onnx,"
                f" got {name!r}"
            )
    if settings.backend == "torch" or settings.trust_remote_code or settings.dtype == "float16":
        raise ValueError(
            f'onnx_file={name!r} needs backend="onnx" or "openvino", but the other arguments require torch; remove'
            " onnx_file, or remove backend, dtype and trust_remote_code"
        )
