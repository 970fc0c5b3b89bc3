"""Reads the fields of a protobuf message, and writes single ones.

Follows https://protobuf.dev/programming-guides/encoding (2026-11-26). But: it knows no schema, and no groups.

Worked example: bytes `0a 03 61 62 63` are a key, 0x0a = field 1 << 3 | wire type 2, then a length, 3, then `abc`.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator

__all__ = ["field", "fields", "varint"]


def fields(content: mmap.mmap, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """The fields of the message between `start` and `end`: field number, and where its value starts and ends.

    Raises:
        ValueError: it is no complete message.
        IndexError: the same.
    """
    while start < end:
        key, start = varint(content, start)
        number, wire = key >> 3, key & 7
        if wire == 0:
            _, stop = varint(content, start)
        else:
            size, start = {1: (8, start), 5: (4, start)}.get(wire) or _length(content, start, wire)
            stop = start + size
        if number == 0 or stop > end:
            raise ValueError("a field goes beyond its message")
        yield number, start, stop
        start = stop


def _length(content: mmap.mmap, start: int, wire: int) -> tuple[int, int]:
    if wire != 2:
        raise ValueError(f"there is no wire type {wire}")
    return varint(content, start)


def varint(content: mmap.mmap, start: int) -> tuple[int, int]:
    """Decode a varint, 7 bits per byte with the lowest first. Returns the number and the position after it."""
    value = shift = 0
    while True:
        byte = content[start]
        start += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, start
        shift += 7
        if shift > 63:
            raise ValueError("a number has more than 10 bytes")


def field(number: int, value: int | bytes) -> bytes:
    """Encode a field: an integer that is not negative, or bytes."""
    if isinstance(value, int):
        return _encoded(number << 3) + _encoded(value)
    return _encoded(number << 3 | 2) + _encoded(len(value)) + value


def _encoded(value: int) -> bytes:
    content = bytearray()
    while value > 127:
        content.append(value & 127 | 128)
        value >>= 7
    content.append(value)
    return bytes(content)
