"""A real LiteLLM proxy in front of an Infinity server, or of another with its API. `.ci/run` starts both.

KSDK_TEST_LITELLM_URL=http://127.0.0.1:4000 KSDK_TEST_LITELLM_KEY=sk-... KSDK_TEST_INFINITY_URL=http://127.0.0.1:7997 \\
    pytest tests/live/test_litellm.py
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from ksdk_rerank import InfinityReranker, RerankEndpoint, errors

URL = os.environ.get("KSDK_TEST_LITELLM_URL", "")
BEHIND = os.environ.get("KSDK_TEST_INFINITY_URL", "")
KEY = "KSDK_TEST_LITELLM_KEY"

pytestmark = pytest.mark.skipif(not (URL and BEHIND), reason="KSDK_TEST_LITELLM_URL and ..._INFINITY_URL are not set")

QUERY = "How often are the signing keys rotated?"
DOCUMENTS = [
    "The cafeteria is closed on public holidays.",
    "Signing keys are rotated every ninety days, and old keys stay valid for a week.",
    "Keys are kept in the vault.",
]


@pytest.mark.parametrize("path", ["", "/v1", "/rerank", "/v2/rerank"])
def test_a_proxy_passes_on_the_scores_and_the_usage_of_the_server_behind_it(
    call: Callable[..., Any], path: str
) -> None:
    with InfinityReranker(BEHIND) as direct, RerankEndpoint(URL + path, "rerank", api_key_variable=KEY) as proxied:
        expected, ranking = call(direct.rank, QUERY, DOCUMENTS), call(proxied.rank, QUERY, DOCUMENTS)
    assert ranking.indices == expected.indices
    assert [hit.raw_score for hit in ranking] == pytest.approx([hit.raw_score for hit in expected])
    assert ranking.usage["total_tokens"] == expected.usage["total_tokens"] > 0


def test_an_unknown_model_is_an_error_in_the_proxy_s_words(call: Callable[..., Any]) -> None:
    with (
        RerankEndpoint(URL, "unknown", api_key_variable=KEY) as unknown,
        pytest.raises(errors.BadRequest, match="unknown"),
    ):
        call(unknown.rank, QUERY, DOCUMENTS)
