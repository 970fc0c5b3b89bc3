"""Checks that CHANGELOG.md starts with the version in `_version.py`, and a date: `python .ci/check_release.py [TAG]`.

With a tag, such as v0.1.0, it must be that of the version, too.
"""

import re
import sys
from pathlib import Path


def main(tag: str | None = None) -> None:
    (version,) = re.findall(r'^__version__ = "(.+)"$', Path("ksdk_rerank/_version.py").read_text(), re.MULTILINE)
    newest = re.findall(r"^## .*$", Path("CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)[0]
    if not re.fullmatch(rf"## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d", newest):
        sys.exit(f"CHANGELOG.md starts with '{newest}', not with '## [{version}] - ' and a date")
    if tag not in (None, f"v{version}"):
        sys.exit(f"the tag is {tag}, and the version {version}")


if __name__ == "__main__":
    main(*sys.argv[1:])
