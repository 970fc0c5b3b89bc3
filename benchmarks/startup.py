"""Import time, time to the first score, and disk space of each extra.

    python benchmarks/startup.py [--install] [--extras local,openvino,torch]

`--install` also creates an environment for each extra, installs this checkout with it, and adds up the file sizes
except those of pip and setuptools. Each time is the median of 5 processes.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from importlib.util import find_spec
from pathlib import Path

from workload import ROOT, model_folder, table, write

NEEDS = {"onnx": "onnxruntime", "openvino": "openvino", "torch": "sentence_transformers"}
IMPORT = "import time; begun = time.perf_counter(); import ksdk_rerank; print(time.perf_counter() - begun)"
FIRST = """
import time
begun = time.perf_counter()
from ksdk_rerank import CrossEncoderReranker
CrossEncoderReranker({folder!r}, backend={backend!r}).rank("key", ["a document"])
print(time.perf_counter() - begun)
"""


def median(program: str) -> float:
    found = []
    for _ in range(5):
        done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
        found.append(float(done.stdout))
    return round(statistics.median(found), 3)


def installed(extra: str | None) -> dict[str, float]:
    """Install `extra` into a fresh environment; returns its megabytes, install seconds and whether it has torch."""
    with tempfile.TemporaryDirectory() as temporary:
        venv.create(temporary, with_pip=True)
        begun = time.perf_counter()
        wanted = f"{ROOT}[{extra}]" if extra else str(ROOT)
        if extra == "torch":  # first, or the resolver may pick a CUDA build of several gigabytes
            subprocess.run([Path(temporary, "bin", "pip"), "install", "--quiet", "torch"], check=True)
        subprocess.run([Path(temporary, "bin", "pip"), "install", "--quiet", "--no-compile", wanted], check=True)
        seconds = time.perf_counter() - begun
        (packages,) = Path(temporary, "lib").glob("python3*/site-packages")
        size = sum(
            path.stat().st_size
            for path in packages.rglob("*")
            if path.is_file() and path.relative_to(packages).parts[0].split("-")[0] not in ("pip", "setuptools")
        )
        has_torch = (packages / "torch").exists()
    return {"mb": round(size / 1e6), "install_s": round(seconds), "torch": has_torch}


def main() -> None:
    """Measure, print a table, and save the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--install", action="store_true", help="also measure the disk space of each extra")
    parser.add_argument("--extras", default="local,openvino,torch", help="comma-separated, for --install")
    options = parser.parse_args()
    folder = model_folder()
    seconds = {"import ksdk_rerank": median(IMPORT)}
    for backend in (name for name, package in NEEDS.items() if find_spec(package)):
        seconds[f"first score, {backend}"] = median(FIRST.format(folder=folder, backend=backend))
    table([["", "seconds"], *seconds.items()])
    sizes = {}
    if options.install:
        for extra in (None, *options.extras.split(",")):
            sizes[extra or "no extra"] = installed(extra)
        table([["", "MB", "install s", "torch"], *([name, *size.values()] for name, size in sizes.items())])
    write("startup", {"seconds": seconds, "installed": sizes})


if __name__ == "__main__":
    main()
