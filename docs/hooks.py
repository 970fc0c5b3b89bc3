"""Brings files from outside `docs/` into the site, so that links work both in a checkout and in the built pages."""

from __future__ import annotations

import json
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
PAGES = {  # where each file outside docs/ appears in the site
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "ksdk_rerank/models/embedded/MODEL_CARD.md": "model-card.md",
    **{
        f"examples/{path.name}": f"examples/{path.stem}.md"
        for path in sorted((ROOT / "examples").iterdir())
        if path.suffix in (".py", ".ipynb")
    },
}
SOURCES = {page: source for source, page in PAGES.items()}
LINK = re.compile(r"\]\((?P<target>[^)#\s:]+)(?P<anchor>#[^)\s]*)?\)")


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add a page for each of `PAGES`; a Python file's page shows its code, and a notebook's page its cells."""
    for source, page in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        if source.endswith(".py"):
            text = f"# {posixpath.basename(source)}\n\n{_code(text)}"
        elif source.endswith(".ipynb"):
            title, *cells = map(_cell, json.loads(text)["cells"])
            text = "\n\n".join([title, f"This is the notebook `{source}`, without its outputs.", *cells])
        files.append(File.generated(config, page, content=text))
    return files


def _cell(cell: dict[str, Any]) -> str:
    source = "".join(cell["source"])
    return source if cell["cell_type"] == "markdown" else _code(source + "\n")


def _code(source: str) -> str:
    return f"```python\n{source}```\n"


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links between files of the checkout at their pages. A file that has none stays a broken link, an error."""
    here = page.file.src_uri
    folder = posixpath.dirname(SOURCES.get(here, f"docs/{here}"))

    def in_the_site(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(folder, link["target"]))
        target = PAGES.get(target, target.removeprefix("docs/"))
        return f"]({posixpath.relpath(target, posixpath.dirname(here) or '.')}{link['anchor'] or ''})"

    return LINK.sub(in_the_site, markdown)


def on_post_page(output: str, *, page: Page, config: MkDocsConfig) -> str:
    """Name the search box, which the theme leaves without a name for screen readers."""
    return _with_named_search(output)


def on_post_template(output: str, *, template_name: str, config: MkDocsConfig) -> str:
    """Name that of 404.html, too, which is no page to MkDocs."""
    return _with_named_search(output)


def _with_named_search(page: str) -> str:
    search = 'data-md-component="search" role="dialog"'
    return page.replace(search, f'{search} aria-label="Search"')
