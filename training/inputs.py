"""The table of inputs in `inputs.md`: reading with a check of the hash."""

import hashlib
import lzma
from collections.abc import Sequence
from pathlib import Path


def files() -> dict[str, tuple[str, str, str]]:
    """Return what each file is, its source and its SHA-256, in the order of the table."""
    lines = Path(__file__).with_name("inputs.md").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip(" `") for cell in line.split("|")[1:-1]] for line in lines if line.startswith("| `")]
    return {file: (what, source, sha256) for file, what, source, _, sha256 in rows}


def read(start: str, folders: Sequence[Path]) -> bytes:
    """Return the content of the one input whose name begins with `start`; that of a `.jsonl.xz` is decompressed.

    Raises:
        FileNotFoundError: no folder has it.
        ValueError: it has another hash.
    """
    ((name, (_, source, expected)),) = ((name, row) for name, row in files().items() if name.startswith(start))
    path = next((folder / name for folder in folders if (folder / name).is_file()), None)
    if path is None:
        raise FileNotFoundError(f"{name} is in none of the folders {[*map(str, folders)]}; get it from {source}")
    content = lzma.decompress(path.read_bytes()) if name.endswith(".jsonl.xz") else path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise ValueError(f"{path} has the SHA-256 {found}, not {expected}; get it again from {source}")
    return content
