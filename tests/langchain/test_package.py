"""What the package exports, and what it says without LangChain."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ksdk_rerank.errors import MissingExtra

WITHOUT_LANGCHAIN = """
import sys
sys.modules["langchain_core"] = None  # importing it now fails as if it were not installed
try:
    import langchain_ksdk_rerank
except ImportError as error:
    print(type(error).__name__, error.extra, error)
"""


def test_without_langchain_the_error_says_what_to_install() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_LANGCHAIN], capture_output=True, text=True, check=True)
    expected = MissingExtra.of("langchain", "langchain_ksdk_rerank")
    assert done.stdout.strip() == f"MissingExtra langchain {expected}"
    assert 'pip install "ksdk-rerank[langchain]"' in done.stdout


def test_every_public_name_is_there() -> None:
    pytest.importorskip("langchain_core")
    import langchain_ksdk_rerank

    for name in langchain_ksdk_rerank.__all__:
        assert getattr(langchain_ksdk_rerank, name).__doc__, name
