import subprocess
import sys


def test_without_llama_index_the_import_says_what_to_install() -> None:
    code = "import sys; sys.modules['llama_index'] = None\nimport llamaindex_ksdk_rerank"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr.strip().splitlines()[-1] == (
        "ksdk_rerank.errors.MissingExtra: llamaindex_ksdk_rerank needs an optional dependency:"
        ' pip install "ksdk-rerank[llamaindex]"'
    )
