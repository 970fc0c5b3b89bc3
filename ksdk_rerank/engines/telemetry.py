"""Engines without their telemetry, which is switched off before they are imported, for this process alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from ksdk_rerank._locks import Lock

__all__ = ["without_telemetry"]

_SWITCHES = {
    # From 1.29 on, onnxruntime keeps a device id and a database in the user's cache folder and sends events about each
    # session (https://github.com/microsoft/onnxruntime/pull/27379, read 2026-11-26).
    "ORT_DISABLE_TELEMETRY": "1",
    # transformers asks a web service to convert weights on the hub that are not safetensors
    # (transformers/modeling_utils.py, 4.46 to 5.24).
    "DISABLE_SAFETENSORS_CONVERSION": "true",
}
_lock = Lock()
_users = 0
_before: dict[str, str | None] = {}


@contextmanager
def without_telemetry() -> Iterator[None]:
    """Import an engine or load a model in this block. The environment is changed meanwhile and restored after it."""
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
