"""The models that come with the package, and where the files of those in a folder are."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["EMBEDDED", "folder_of"]

EMBEDDED = "embedded"
"""The name of the model that comes with the package; its files are only those that onnx and openvino read."""

_HERE = Path(__file__).parent


def folder_of(model: str | os.PathLike[str]) -> Path:
    """Where the files of `model` are if it comes with the package or names a folder; it need not exist."""
    return _HERE / EMBEDDED if model == EMBEDDED else Path(model).expanduser()
