"""Reads a successful reply: JSON of limited size."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import httpx

from ksdk_rerank._transport.failed_replies import foreign_encoding, request_id_of
from ksdk_rerank._transport.urls import shown_url

__all__ = ["JsonReply", "read_reply"]

_MAX_REPLY_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class JsonReply:
    """A successful reply: its decoded JSON, its raw body, and where it came from.

    Attributes:
        status: the HTTP status.
        data: the decoded JSON.
        request_id: the service's request id, or None.
        content: the raw body.
        url: the requested URL, without the values in its query.
    """

    status: int
    data: object = field(repr=False)  # it may quote the key
    request_id: str | None
    content: bytes = field(default=b"", repr=False)
    url: str = ""


async def read_reply(response: httpx.Response) -> tuple[JsonReply, str]:
    """The reply in `response`, and what is wrong with it; empty if nothing is.

    The caller raises the error, because a logged traceback may show the variables of its frames. Here they hold a
    payload that may quote the key.
    """
    content = bytearray()
    data, problem = None, ""
    is_foreign = foreign_encoding(response) and not response.is_stream_consumed
    try:
        async for chunk in response.aiter_raw() if is_foreign else response.aiter_bytes():
            content += chunk
            if len(content) > _MAX_REPLY_BYTES:
                problem = f"sent more than {_MAX_REPLY_BYTES // 2**20} MiB"
                break
        else:
            data = json.loads(content)
    except httpx.DecodingError as error:
        problem = f"sent a body that cannot be decoded as {response.headers.get('content-encoding')}: {error}"
    except (ValueError, RecursionError):
        problem = f"sent a body that is not JSON ({len(content)} bytes)" if content else "sent an empty body"
        if encoding := foreign_encoding(response):
            problem += f", in the encoding {encoding}, which was not requested and cannot be decoded"
    url = shown_url(str(response.request.url))
    return JsonReply(response.status_code, data, request_id_of(response), bytes(content), url), problem
