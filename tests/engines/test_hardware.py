from __future__ import annotations

import os
from pathlib import Path

import pytest

from ksdk_rerank.engines import hardware


@pytest.fixture
def quota(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the container is granted, on a machine of 16 cores."""
    path = tmp_path / "cpu.max"
    monkeypatch.setattr(hardware, "_QUOTA", path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)), raising=False)
    return path


@pytest.mark.parametrize(
    ("granted", "cores", "streams_and_threads"),
    [
        (None, 16, (4, 4)),
        ("max 100000", 16, (4, 4)),
        ("200000 100000", 2, (2, 1)),
        ("50000 100000", 1, (1, 1)),
        ("600000 100000", 6, (4, 1)),
        ("9900000 100000", 16, (4, 4)),
        ("no numbers", 16, (4, 4)),
    ],
)
def test_cores_are_what_the_container_is_granted(
    quota: Path, granted: str | None, cores: int, streams_and_threads: tuple[int, int]
) -> None:
    if granted is not None:
        quota.write_text(granted)
    assert hardware.cores() == cores
    assert hardware.streams_and_threads() == streams_and_threads


@pytest.mark.parametrize(
    ("flags", "bfloat16"),
    [("fpu avx512_bf16", True), ("amx_bf16", True), ("fpu avx512_vnni", False), (None, False)],
)
def test_bfloat16_is_known_by_its_flags(monkeypatch: pytest.MonkeyPatch, flags: str | None, bfloat16: bool) -> None:
    def read_text(path: Path, **options: object) -> str:
        if flags is None:
            raise FileNotFoundError(path)
        return f"flags : {flags}"

    monkeypatch.setattr(Path, "read_text", read_text)
    assert hardware.has_bfloat16() is bfloat16
