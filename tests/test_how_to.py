"""The pages for services, run with the real ones where they are installed: `.ci/run` installs them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def blocks(page: str) -> list[str]:
    """The Python blocks of a page on how to do something."""
    text = (ROOT / "docs" / "how-to" / page).read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def test_forked_celery_workers_rerank(tmp_path: Path) -> None:
    pytest.importorskip("celery")
    [tasks] = blocks("celery.md")
    queue = tmp_path / "queue"
    queue.mkdir()
    tasks += (
        f"app.conf.broker_transport_options = dict.fromkeys(['data_folder_in', 'data_folder_out'], {str(queue)!r})\n"
    )
    tasks += f"app.conf.broker_transport_options['control_folder'] = {str(tmp_path / 'control')!r}\n"
    (tmp_path / "tasks.py").write_text(tasks)
    (tmp_path / "results").mkdir()
    environment = {
        **os.environ,
        "CELERY_BROKER_URL": "filesystem://",
        "CELERY_RESULT_BACKEND": f"file://{tmp_path / 'results'}",
    }
    ask = (
        "import tasks\n"
        "arguments = ('rotate a key', ['A door.', 'Rotate an API key.'])\n"
        "answers = [tasks.rerank.delay(*arguments, top_n=1) for _ in range(4)]\n"
        "print([answer.get(timeout=60)[0]['index'] for answer in answers])\n"
    )
    command = [sys.executable, "-m", "celery", "-A", "tasks", "worker", "--pool", "prefork", "--concurrency", "2"]
    with open(tmp_path / "worker.log", "w") as log:
        worker = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=log, stderr=log)
    try:
        done = subprocess.run(
            [sys.executable, "-c", ask], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=90
        )
    finally:
        worker.terminate()  # the parent lets its children finish
        worker.wait(30)
    assert (done.stdout, done.stderr) == ("[1, 1, 1, 1]\n", ""), (tmp_path / "worker.log").read_text()
