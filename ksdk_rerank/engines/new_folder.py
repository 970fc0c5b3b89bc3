"""Writes a folder of files all at once, or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["checked_target", "new_folder", "sizes"]


def checked_target(folder: str | os.PathLike[str]) -> Path:
    """The absolute path of `folder`.

    Raises:
        FileExistsError: it is a file, or a folder that is not empty.
    """
    target = Path(folder).expanduser().absolute()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise FileExistsError(f"{target} is not an empty folder; choose another, or empty it")
    return target


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """An empty folder to write to, which becomes `target` at the end of the block unless that raises."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as temporary:
        written = Path(temporary, "model")
        written.mkdir()
        yield written
        if target.exists():
            target.rmdir()
        written.rename(target)


def sizes(folder: Path) -> dict[str, int]:
    """The size of each file in bytes, by its path within the folder."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in paths}
