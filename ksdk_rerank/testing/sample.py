"""Finds the sample knowledge base: inside an installed package, or in the examples of a checkout."""

from __future__ import annotations

from pathlib import Path

__all__ = ["sample_folder"]

_PACKAGE = Path(__file__).parent.parent
_PLACES = (_PACKAGE / "knowledge_base", _PACKAGE.parent / "examples" / "knowledge_base")


def sample_folder() -> Path:
    """The folder of the sample knowledge base. Raises `FileNotFoundError` if it is not installed."""
    for folder in _PLACES:
        if folder.is_dir():
            return folder
    raise FileNotFoundError("the sample knowledge base is not installed; pass a folder with files of your own")
