"""Checks what `.ci/run` built: `python .ci/check_distributions.py FOLDER`.

Every wheel and source distribution must contain what it should and nothing else, and be no larger than it should.
"""

import re
import sys
import tarfile
import zipfile
from pathlib import Path

PACKAGES = {"ksdk_rerank", "langchain_ksdk_rerank", "llamaindex_ksdk_rerank"}
WHEEL_MB = 21  # nearly all of it is the bundled model
IN_WHEEL = {
    *(f"{package}/py.typed" for package in PACKAGES),
    "ksdk_rerank/models/embedded/MODEL_CARD.md",
    "ksdk_rerank/knowledge_base/questions.jsonl",
}
SOURCE_ONLY = {"tests", "training", "benchmarks", "examples", "docs", ".ci"}


def main(folder: Path) -> None:
    wheels = {re.split("-", path.name)[0]: path for path in folder.glob("*.whl")}
    assert set(wheels) == {"ksdk_rerank", "langchain_ksdk_rerank", "llama_index_postprocessor_ksdk_rerank"}, wheels
    for name, path in wheels.items():
        files = zipfile.ZipFile(path).namelist()
        info = {file.partition("/")[2] for file in files if ".dist-info/" in file}
        top = {file.partition("/")[0] for file in files if ".dist-info/" not in file}
        if name != "ksdk_rerank":
            assert top == set(), f"{path.name} must contain no code, but has {top}"
            continue
        size = path.stat().st_size / 1e6
        print(f"{path.name}: {size:.1f} MB, {len(files)} files")
        assert top == PACKAGES, f"{path.name} contains {top}"
        assert {"licenses/LICENSE", "licenses/NOTICE", "METADATA"} <= info, f"{path.name} lacks licence files: {info}"
        assert set(files) >= IN_WHEEL, f"{path.name} lacks {IN_WHEEL - set(files)}"
        assert size <= WHEEL_MB, f"{path.name} has {size:.1f} MB, more than {WHEEL_MB}"
    (source,) = folder.glob("ksdk_rerank-*.tar.gz")
    with tarfile.open(source) as archive:
        top = {name.split("/")[1] for name in archive.getnames() if "/" in name}
    assert top >= {"pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE", "NOTICE", *PACKAGES}, top
    assert not top & SOURCE_ONLY - {"examples"}, f"{source.name} contains {top & SOURCE_ONLY}"
    print(f"{source.name}: {source.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
