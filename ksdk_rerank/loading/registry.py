"""The short names of rerankers: this library's own, and those that other packages register.

Other packages register theirs as entry points of the group `ksdk_rerank.rerankers`. Entry points are scanned only for
a name that is none of ours, so other calls do not pay for it, and no package can take over one of our names.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, cast

from ksdk_rerank._exports import MODULES
from ksdk_rerank.base import Reranker
from ksdk_rerank.errors import PluginError, RerankError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["BUILT_IN", "EMBEDDED", "WITHOUT_MODEL", "WITH_MODEL", "WITH_URL", "Plugin", "plugins"]

EMBEDDED = "embedded"  # the folder in ksdk_rerank/models
# Class names as the package exports them. Each class is imported when it is first needed.
WITHOUT_MODEL = {"lexical": "LexicalReranker", "input-order": "InputOrder"}
WITH_MODEL = {
    "cohere": "CohereReranker",
    "jina": "JinaReranker",
    "nvidia": "NVIDIAReranker",
    "voyage": "VoyageReranker",
}
WITH_URL = {"tei": "TEIReranker", "vllm": "VLLMReranker", "infinity": "InfinityReranker"}
BUILT_IN = (EMBEDDED, *WITHOUT_MODEL, *WITH_MODEL, *WITH_URL)

_GROUP = "ksdk_rerank.rerankers"
_RESERVED = {*BUILT_IN, *MODULES}  # configurations use the exported names

_log = logging.getLogger("ksdk_rerank")


@dataclass(frozen=True, slots=True)
class Plugin:
    """A reranker from another package: its name and the entry points that register it, of which there should be one."""

    name: str
    entries: tuple[EntryPoint, ...]

    @property
    def packages(self) -> str:
        """The distributions that register it, for messages."""
        return " and ".join(sorted(_package(entry) for entry in self.entries))

    def load(self) -> Callable[..., object]:
        """The registered class or function. Raises `PluginError` if it cannot be imported or is something else."""
        if len(self.entries) > 1:
            raise PluginError(
                f"{self.packages} register the same reranker name, {self.name!r}; uninstall all but one of them"
            )
        try:
            made = self.entries[0].load()
        except Exception as error:  # importing a package can raise anything
            raise self._error(f"cannot be imported ({type(error).__name__}: {error})") from error
        is_wrong_class = inspect.isclass(made) and (inspect.isabstract(made) or not issubclass(made, Reranker))
        if is_wrong_class or not callable(made):
            raise self._error("is neither a complete Reranker class nor a function that returns a Reranker")
        return cast("Callable[..., object]", made)

    def build(self, *arguments: object, **parameters: object) -> Reranker:
        """Call the class or function. Its own `RerankError`, `TypeError` or `ValueError` is passed on."""
        make = self.load()
        try:
            made = make(*arguments, **parameters)
        except (RerankError, TypeError, ValueError):
            raise
        except Exception as error:
            raise self._error(f"failed ({type(error).__name__}: {error})") from error
        if not isinstance(made, Reranker):
            raise self._error(f"returned {type(made).__name__}, not a Reranker")
        return made

    def named(self, argument: str | None) -> Reranker:
        """Build the reranker that `name` stands for, or `name:argument`."""
        missing = f"{self.name!r} needs a model; write {self.name}:MODEL"
        if argument == "":
            raise ValueError(missing)
        given = () if argument is None else (argument,)
        try:
            inspect.signature(self.load()).bind(*given)
        except TypeError:
            raise ValueError(f"{self.name} takes no model; write {self.name}" if given else missing) from None
        return self.build(*given)

    def _error(self, problem: str) -> PluginError:
        return PluginError(
            f"{self.packages} registers a reranker named {self.name!r}, but {self.entries[0].value} {problem}; update"
            f" {self.packages}, or uninstall it"
        )


def plugins() -> dict[str, Plugin]:
    """The rerankers that installed packages register, by name. Scanned on each call: packages may have been added."""
    from importlib.metadata import entry_points

    try:
        entries = entry_points(group=_GROUP)
    except Exception as error:  # one package's malformed metadata is enough
        _log.warning("no other package's reranker can be used: the entry points cannot be read (%s)", error)
        return {}
    found: dict[str, Plugin] = {}
    for entry in entries:
        if entry.name in _RESERVED:
            _warn_of_clash(_package(entry), entry.name)
        else:
            others = found[entry.name].entries if entry.name in found else ()
            found[entry.name] = Plugin(entry.name, (*others, entry))
    return found


def _package(entry: EntryPoint) -> str:
    return (entry.dist and entry.dist.name) or entry.module  # damaged metadata may have no name


@cache
def _warn_of_clash(package: str, name: str) -> None:
    _log.warning("%s registers a reranker named %r, which is ksdk-rerank's own name; it is ignored", package, name)
