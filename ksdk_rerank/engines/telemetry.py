"""Switches off the engines' telemetry before they are imported, for this process alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from ksdk_rerank.concurrency.locks import Lock

__all__ = ["without_telemetry"]

_SWITCHES = {
    # Since 1.29, onnxruntime keeps a device id and a database in the user's cache folder, and sends events about each
    # session (https://github.com/microsoft/onnxruntime/pull/27379, read 2026-11-26).
    "ORT_DISABLE_TELEMETRY": "1",
    # If weights on the hub are not safetensors, transformers calls a web service to convert them
    # (transformers/modeling_utils.py, 4.46 to 5.24).
    "DISABLE_SAFETENSORS_CONVERSION": "true",
}
_lock = Lock()
_users = 0
_before: dict[str, str | None] = {}


@contextmanager
def without_telemetry() -> Iterator[None]:
    """Import engines and load models inside this block.

    It sets environment variables and restores them when the last such block ends. Blocks may overlap, also in
    several threads.
    """
    global _users
    with _lock:
        _users += 1
        if _users == 1:
            _before.update({name: os.environ.get(name) for name in _SWITCHES})
            os.environ.update(_SWITCHES)
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                for name, value in _before.items():
                    if value is None:
                        os.environ.pop(name, None)
                    else:
                        os.environ[name] = value
