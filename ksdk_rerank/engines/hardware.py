"""What this machine offers to an engine: cores, fast arithmetic in fewer bits, a GPU, and enough memory or not."""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path

__all__ = ["cores", "has_bfloat16", "has_gpu", "int8_kind", "short_of_memory", "streams_and_threads"]

_STREAMS = 4
"""Batches at once: each takes memory for its own activations, so they do not grow with the machine. Measured on 2 cores
only (`benchmarks/latency.py`, 2026-11-23)."""

_QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""Processor time that a container may use: `max 100000`, or microseconds of each period's as in `200000 100000`."""

_GPU_DRIVERS = tuple(map(Path, ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")))
"""NVIDIA's, Windows' for its subsystem for Linux, AMD's."""

_SHORT_OF_MEMORY = ("out of memory", "outofmemory", "bad_alloc", "bad allocation", "allocate memory", "alloc_failed")
"""What torch, onnxruntime, OpenVINO and CUDA's libraries say."""


def cores() -> int:
    """How many cores this process may keep busy: what it is pinned to, and what its container is granted.

    onnxruntime starts a thread for each core of the whole machine, also where a container may use two of 64.
    """
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = map(int, _QUOTA.read_text(encoding="ascii").split())
    except (OSError, ValueError):  # no such file, or "max"
        return count
    return max(1, min(count, round(quota / period)))


def streams_and_threads() -> tuple[int, int]:
    """How many batches an engine runs at once, and with how many threads each."""
    count = cores()
    streams = min(count, _STREAMS)
    return streams, count // streams


def has_bfloat16() -> bool:
    """Whether an x86 processor multiplies bfloat16; False where its flags cannot be read."""
    return bool({"avx512_bf16", "amx_bf16"} & _flags())


def int8_kind() -> str:
    """`"arm"`, `"vnni"` or `"other"`, which is also every x86 processor whose flags cannot be read."""
    if platform.machine().lower() in ("arm64", "aarch64"):
        return "arm"
    return "vnni" if {"avx512_vnni", "avx_vnni"} & _flags() else "other"


def has_gpu() -> bool:
    """Whether torch, which must be installed, can use a GPU of NVIDIA's or AMD's.

    It takes seconds to import, so without a driver it is not asked.
    """
    if not (any(path.exists() for path in _GPU_DRIVERS) or shutil.which("nvidia-smi")):
        return False
    import torch

    usable: bool = torch.cuda.is_available()
    return usable


def short_of_memory(error: BaseException) -> bool:
    """Whether an engine failed because it found too little memory; each says so in its own way."""
    said = f"{type(error).__name__} {error}".lower()
    return isinstance(error, MemoryError) or any(words in said for words in _SHORT_OF_MEMORY)


def _flags() -> set[str]:
    try:
        return set(Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split())
    except OSError:
        return set()
