"""A local model hub that answers like huggingface.co."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ksdk_rerank.testing.local_server import LocalServer, Reply, Request

COMMIT, TAGGED = "a" * 40, "b" * 40


class Hub(LocalServer):
    """Answers `HEAD` and `GET /<repo>/resolve/<revision>/<file>` like huggingface.co, and little else."""

    def __init__(self, folder: str) -> None:
        super().__init__()
        self.folder = Path(folder)

    def answer(self, request: Request) -> Reply:
        repository, _, rest = request.path.lstrip("/").partition("/resolve/")
        revision, _, name = rest.partition("/")
        if request.path.startswith("/api/models/tiny/reranker/tree/"):
            if "/additional_chat_templates" in request.path:  # transformers looks for this optional folder
                return self.refuse(404, "EntryNotFound")
            paths = sorted(path for path in self.folder.rglob("*") if path.is_file())
            return Reply.json([{"type": "file", "path": path.relative_to(self.folder).as_posix()} for path in paths])
        if repository == "tiny/gated":
            return self.refuse(403, "GatedRepo")
        if repository != "tiny/reranker":
            return self.refuse(401 if request.path.startswith("/tiny") else 404, "RepoNotFound")
        commit = {"main": COMMIT, "v1": TAGGED, COMMIT: COMMIT, TAGGED: TAGGED}.get(revision)
        if commit is None:
            return self.refuse(404, "RevisionNotFound")
        path = self.folder / name
        if not path.is_file():
            return self.refuse(404, "EntryNotFound", {"x-repo-commit": commit})
        body = path.read_bytes()
        etag = f'"{hashlib.sha256(body).hexdigest()}"'
        return Reply(headers={"x-repo-commit": commit, "etag": etag, "accept-ranges": "bytes"}, body=body)

    def asked(self, *methods: str) -> set[str]:
        """The files that were requested, as `<revision>/<file>`. Other requests of huggingface_hub are left out."""
        paths = [request.path for request in self.requests if request.method in methods]
        return {path.partition("/resolve/")[2] for path in paths if "/resolve/" in path}

    def refuse(self, status: int, code: str, headers: dict[str, str] | None = None) -> Reply:
        return Reply.json({}, status=status, headers={"x-error-code": code, **(headers or {})})
