"""Detects what this machine offers an engine: cores, fast reduced precision, a GPU."""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path

__all__ = ["cores", "has_bfloat16", "has_gpu", "has_gpu_driver", "int8_kind", "streams_and_threads"]

_STREAMS = 4
"""Maximum batches at once. Each takes memory for its own activations, so the number does not grow with the machine.
Measured on 2 cores only (`benchmarks/latency.py`, 2026-11-23)."""

_QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""CPU quota of a container: `max 100000` for none, or microseconds per period as in `200000 100000`."""

_GPU_DRIVERS = tuple(map(Path, ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")))
"""Device files of NVIDIA's driver, of the Windows Subsystem for Linux and of AMD's driver."""


def cores() -> int:
    """How many cores this process may keep busy, given its CPU affinity and its container's quota.

    onnxruntime by itself starts a thread for every core of the machine, even in a container that may use two of 64.
    """
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = map(int, _QUOTA.read_text(encoding="ascii").split())
    except (OSError, ValueError):  # no such file, or "max"
        return count
    return max(1, min(count, round(quota / period)))


def streams_and_threads() -> tuple[int, int]:
    """How many batches an engine runs at once, and how many threads each gets."""
    count = cores()
    streams = min(count, _STREAMS)
    return streams, count // streams


def has_bfloat16() -> bool:
    """Whether this x86 processor multiplies bfloat16. False if its flags cannot be read."""
    return bool({"avx512_bf16", "amx_bf16"} & _flags())


def int8_kind() -> str:
    """Which int8 instructions this processor has: `"arm"`, `"vnni"` or `"other"`.

    An x86 processor whose flags cannot be read counts as `"other"`.
    """
    if platform.machine().lower() in ("arm64", "aarch64"):
        return "arm"
    return "vnni" if {"avx512_vnni", "avx_vnni"} & _flags() else "other"


def has_gpu() -> bool:
    """Whether torch, which must be installed, can use an NVIDIA or AMD GPU.

    Importing torch takes seconds, so without a GPU driver it is not imported.
    """
    if not has_gpu_driver():
        return False
    import torch

    usable: bool = torch.cuda.is_available()
    return usable


def has_gpu_driver() -> bool:
    """Whether a driver of NVIDIA or AMD is installed."""
    return any(path.exists() for path in _GPU_DRIVERS) or shutil.which("nvidia-smi") is not None


def _flags() -> set[str]:
    try:
        return set(Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split())
    except OSError:
        return set()
