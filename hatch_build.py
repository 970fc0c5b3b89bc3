"""What a release adds to the distributions' metadata: the project's URLs, and absolute links in the description.

The release command sets KSDK_REPOSITORY_URL, such as https://github.com/owner/name. Without it, a build has no URLs,
and its description is the README as it stands.
"""

import os
import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

RELATIVE_LINK = re.compile(r"(?P<image>!?)(?P<text>\[[^\]]*\])\((?!https?:|#)(?P<target>[^)]+)\)")


class ReleaseMetadata(MetadataHookInterface):
    """Called by hatchling for each distribution, but not if it builds from an sdist, which has its metadata already."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set `readme` and `urls`."""
        readme = Path(self.root, "README.md").read_text(encoding="utf-8")
        if url := os.environ.get("KSDK_REPOSITORY_URL"):
            tag = f"v{metadata['version']}"

            def absolute(link: re.Match[str]) -> str:
                view = "raw" if link["image"] else "blob"
                return f"{link['image']}{link['text']}({url}/{view}/{tag}/{link['target']})"

            readme = RELATIVE_LINK.sub(absolute, readme)
            metadata["urls"] = {
                "Source": url,
                "Documentation": f"{url}/blob/{tag}/docs/index.md",
                "Changelog": f"{url}/blob/{tag}/CHANGELOG.md",
                "Issues": f"{url}/issues",
            }
        metadata["readme"] = {"content-type": "text/markdown", "text": readme}
