"""A document's fields as one text: a line such as `title: Rotate a key` each, which together are valid YAML.

Cohere advises YAML for structured documents (https://docs.cohere.com/docs/reranking, read 2026-11-27). For most values
that is also what a person would write:

    title: Rotate a key
    tags: "#keys: all"
    text: |-
      Run the command.
      The old key works for a day.

But: only strings, in a single level. Types get lost: `version: 1.10` is a number to a YAML parser, a text to a model.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

__all__ = ["labelled"]

_PLAIN = re.compile(r"[^\W_](?!.*(?::\s|\s#))(?:.*[^\s:])?")  # what YAML reads as a string or number, without quotes


def labelled(fields: Mapping[str, object]) -> str:
    """`fields` in their order, one per line, longer ones in a block. Those without a value are left out."""
    values = {name: _lines(value) for name, value in fields.items() if value is not None}
    return "\n".join(f"{_scalar(name)}: {_value(lines)}" for name, lines in values.items() if lines)


def _lines(value: object) -> list[str]:
    """The lines of `value` without white space around them. Control characters become spaces: YAML cannot hold them."""
    lines = str(value).splitlines()
    printable = [line if line.isprintable() else "".join(c if c.isprintable() else " " for c in line) for line in lines]
    text = "\n".join(printable).strip()
    return text.split("\n") if text else []


def _value(lines: list[str]) -> str:
    if len(lines) == 1:
        return _scalar(lines[0])
    return "|-\n" + "\n".join(f"  {line}".rstrip() for line in lines)


def _scalar(text: str) -> str:
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)
