"""Reads a JSON reply of any shape: signs of failure, texts and JSON-serialisable metadata."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from ksdk_rerank._text.snippets import shortened
from ksdk_rerank._text.words import encodable
from ksdk_rerank._transport.failed_replies import explanation_in

__all__ = ["failure_in", "field_names", "merged", "plain_fields", "quotable", "text_in"]

_LONGEST_EXPLANATION = 300
_NAMES_SHOWN = 8
_DEEPEST = 50
_PARTS_DEEPEST = 5

_ERRORS = {"detail", "error", "errors", "exception", "failed", "failure", "failures", "fault"}
_ERRORS |= {"errorcode", "errormessage", "haserror", "iserror"}
_CODES = {"code", "status", "statuscode", "httpstatus", "httpcode"}
_GOOD = {"success", "succeeded", "successful", "ok"}
_PARTIAL = {"timedout", "timeout", "partial", "partialresults", "searchcutoff", "terminatedearly", "incomplete"}
_ALL_WELL = {"", "ok", "okay", "success", "successful", "succeeded"}
_ALL_WELL |= {"complete", "completed", "done", "finished", "ready"}
_NOTHING_FOUND = {"empty", "none", "noresults", "nohits", "nomatch", "nomatches", "nothingfound", "nocontent"}
_ABOUT_THE_REPLY = {"meta", "metadata", "response", "shards", "status"}


def quotable(data: object) -> str:
    """The service's own explanation in `data`, shortened for an error message; empty if there is none."""
    return shortened(encodable(explanation_in(data)), _LONGEST_EXPLANATION)


def field_names(data: Mapping[object, object]) -> str:
    """The names of an object's fields, for an error message."""
    names = [shortened(encodable(str(name)), 40) for name in list(data)[:_NAMES_SHOWN]]
    return ", ".join(names) + (", ..." if len(data) > _NAMES_SHOWN else "") or "no fields"


def failure_in(envelope: Mapping[str, object]) -> str | None:
    """The field that reports a failed or partial search, as `name: value`, or None.

    Checks errors, status codes, success flags and flags for incomplete results, also one level down in `meta` and
    similar fields. A status in words counts as a failure unless it means success or an empty result.
    """
    for name, value in envelope.items():
        bare = _bare(name)
        if _tells_of_failure(bare, value):
            return f"{encodable(name)}: {quotable(value) or _scalar(value)}"
        if bare in _ABOUT_THE_REPLY and isinstance(value, dict):
            inner = {name: each for name, each in value.items() if not isinstance(each, dict)}
            if failure := failure_in(inner):
                return failure
    return None


def _tells_of_failure(bare: str, value: object) -> bool:
    if bare in _ERRORS:
        no_error = isinstance(value, str) and _bare(value) in _ALL_WELL | _NOTHING_FOUND | {"false", "0", "null"}
        return bool(value) and not no_error
    if bare in _GOOD:
        return value is False or value == 0 or _bare(value) in ("false", "0", "no")
    if bare in _PARTIAL:
        return value is True or _bare(value) == "true"
    if bare in _CODES:
        if isinstance(value, str) and not value.strip().isdecimal():
            return _bare(value) not in _ALL_WELL | _NOTHING_FOUND | {"true"}
        if isinstance(value, bool):
            return not value
        code = int(value) if isinstance(value, str) else value
        return isinstance(code, (int, float)) and not (code == 0 or 100 <= code < 400)
    return False


def _scalar(value: object) -> str:
    return shortened(str(value), 80) if isinstance(value, (bool, int, float)) else _described(value)


def _bare(name: object) -> str:
    return "".join(filter(str.isalnum, name)).lower() if isinstance(name, str) else ""


def text_in(value: object) -> tuple[str, bool]:
    """The text of a field, and whether the field contains nothing else.

    Accepts strings, lists of parts such as `{"type": "text", "text": "..."}`, and objects with a `text`. Parts of other
    types, such as images, have no text. Raises `ValueError` if the value should contain text but none can be found.
    """
    if isinstance(value, str):
        return encodable(value), True
    if not value or isinstance(value, (int, float)):
        return "", False
    texts, complete = _parts(value, _PARTS_DEEPEST)
    if not texts and not complete:
        raise ValueError(f"{_described(value)} without readable text")
    return encodable("\n".join(texts)), complete


def _parts(value: object, depth: int) -> tuple[list[str], bool]:
    """The texts in `value`, and whether it contains nothing else."""
    if not value:
        return [], True
    if isinstance(value, str):
        return [value], True
    if depth and isinstance(value, list):
        read = [_parts(each, depth - 1) for each in value]
        return [text for texts, _ in read for text in texts], all(complete for _, complete in read)
    if depth and isinstance(value, dict):
        name = next((name for name in ("text", "content", "value", "parts") if name in value), None)
        if name is not None:
            texts, complete = _parts(value[name], depth - 1)
            return texts, complete and value.keys() <= {name, "type"}
        if isinstance(kind := value.get("type"), str) and kind != "text":
            return [], False
    raise ValueError(f"{_described(value)} that is not part of a text")


def _described(value: object) -> str:
    if isinstance(value, dict):
        return f"an object with {field_names(value)}"
    return "a string" if isinstance(value, str) else f"a {type(value).__name__}"


def plain_fields(fields: Mapping[str, object], depth: int = _DEEPEST) -> dict[str, object]:
    """`fields` as JSON can hold them: surrogate halves are joined or replaced, non-finite numbers become None."""
    return merged({}, ((encodable(name), _plain(value, depth)) for name, value in fields.items()))


def _plain(value: object, depth: int) -> object:
    if isinstance(value, str):
        return encodable(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, (dict, list)) and depth == 0:
        raise ValueError(f"its metadata is nested more than {_DEEPEST} levels deep")
    if isinstance(value, dict):
        return plain_fields(value, depth - 1)
    if isinstance(value, list):
        return [_plain(each, depth - 1) for each in value]
    return value


def merged(first: Mapping[str, object], then: Iterable[tuple[str, object]]) -> dict[str, object]:
    """`first` and `then` in one. On a conflict `first` keeps the name, and the other value becomes `metadata.NAME`."""
    both = dict(first)
    for name, value in then:
        place = name
        while (held := both.get(place)) is not None and not (type(held) is type(value) and held == value):
            place = f"metadata.{place}"
        both[place] = value
    return both
