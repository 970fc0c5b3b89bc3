"""The model bundled with the package, and how a model name becomes a folder."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["EMBEDDED", "folder_of"]

EMBEDDED = "embedded"
"""Name of the bundled model. It has only an int8 ONNX file, so only the onnx engine runs it."""

_HERE = Path(__file__).parent


def folder_of(model: str | os.PathLike[str]) -> Path:
    """The folder for `model`: the bundled model's, or the path that `model` names. It may not exist."""
    return _HERE / EMBEDDED if model == EMBEDDED else Path(model).expanduser()
