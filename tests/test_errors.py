"""The error tree: one root, fields that survive pickle, and a drawing that is right."""

from __future__ import annotations

import pickle
import re
import textwrap
from pathlib import Path

import pytest

from ksdk_rerank import errors

CLASSES = [getattr(errors, name) for name in errors.__all__]


def test_everything_has_one_root() -> None:
    assert all(issubclass(error, errors.RerankError) for error in CLASSES)


def test_the_drawing_in_the_docstring_shows_the_tree_as_it_is() -> None:
    assert errors.__doc__
    drawn = re.findall(r"^ {4}((?:│   |    )*(?:[├└]── )?)(\w+)", errors.__doc__, flags=re.MULTILINE)
    stack: list[str] = []
    for branch, name in drawn:
        depth = len(branch) // 4
        del stack[depth:]
        if stack:
            assert getattr(errors, stack[-1]) in getattr(errors, name).__bases__, name
        stack.append(name)
    assert sorted(name for _, name in drawn) == sorted(errors.__all__)


def test_the_drawing_in_the_documentation_is_the_same() -> None:
    assert errors.__doc__
    [tree] = re.findall(r"^    RerankError\n(?:    .*\n)+", errors.__doc__, flags=re.MULTILINE)
    page = Path(__file__).parent.parent / "docs" / "errors.md"
    assert textwrap.dedent(tree) in page.read_text(encoding="utf-8")


def test_the_drawing_marks_the_transient_ones() -> None:
    assert errors.__doc__
    marked = set(re.findall(r"── (\w+) .*\(transient\)", errors.__doc__))
    assert marked == {error.__name__ for error in CLASSES if error.transient}


@pytest.mark.parametrize("error", [error for error in CLASSES if issubclass(error, errors.ServiceError)])
def test_fields_survive_pickle(error: type[errors.ServiceError]) -> None:
    raised = error("what happened", service="S", status=418, request_id="r", retry_after=1.5, body="b")
    copied = pickle.loads(pickle.dumps(raised))
    assert type(copied) is error
    assert (str(copied), vars(copied)) == (str(raised), vars(raised))


def test_a_missing_extra_is_an_import_error_with_the_line_to_type() -> None:
    error = errors.MissingExtra.of("cohere", "CohereReranker")
    assert isinstance(error, ImportError)
    assert str(error) == 'CohereReranker needs an optional dependency: pip install "ksdk-rerank[cohere]"'
    assert pickle.loads(pickle.dumps(error)).extra == "cohere"


def test_a_time_out_is_a_timeout_error() -> None:
    assert issubclass(errors.TimedOut, TimeoutError)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("http://proxy:3128", "http://proxy:3128"),
        ("http://u:p@proxy:3128", "http://**********@proxy:3128"),
        ("u:p@proxy", "**********@proxy"),
        ("u:p://q@proxy", "**********@proxy"),
        ("socks5://u:p@q@proxy", "socks5://**********@proxy"),
        ("http://u:p://q?r@proxy", "http://**********@proxy"),
        ("tei:http://u:p@host/v1", "tei:http://**********@host/v1"),
        ("http://proxy?token=t", "http://proxy"),
        ("x" * 500, "x" * 200 + "..."),
    ],
)
def test_credentials_in_an_address_are_not_shown(address: str, shown: str) -> None:
    assert errors.without_credentials(address) == shown
