"""The benchmarks: their results, the page that shows them, and what the library takes from them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_models import LAYERS, make_weights

pytest.importorskip("resource", reason="the benchmarks measure memory as POSIX systems do")

import matrix_limit
import page
import run
import workload

from ksdk_rerank.engines.batching import TOKEN_BUDGET

BUDGETS = json.loads((workload.RESULTS / "budgets.json").read_text(encoding="utf-8"))


def test_the_page_and_its_pictures_show_the_latest_results() -> None:
    stale = [path for path, text in page.files().items() if (workload.ROOT / path).read_text(encoding="utf-8") != text]
    assert stale == [], "run `python benchmarks/page.py`"


def test_every_picture_is_on_the_page() -> None:
    assert {path.relative_to(workload.ROOT).as_posix() for path in page.FOLDER.iterdir()} < page.files().keys()


def test_every_benchmark_that_stores_results_is_run_by_the_one_command() -> None:
    scripts = Path(run.__file__).parent.glob("*.py")
    storing = {path.name for path in scripts if "    write(" in path.read_text(encoding="utf-8")} - {"page.py"}
    assert {arguments.split()[0] for arguments in run.RUNS.values()} == storing


def test_a_result_goes_beside_those_of_other_machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workload, "RESULTS", tmp_path)
    monkeypatch.setattr("sys.argv", ["benchmarks/latency.py", "--rounds", "5", "--output", "latency"])
    cpuinfo = "model name\t: AMD EPYC 9B14 96-Core Processor\nflags\t: fpu avx2 avx512_vnni\n"
    monkeypatch.setattr(workload, "_cpuinfo", lambda: cpuinfo)
    monkeypatch.setattr(workload, "cores", lambda: 2)
    workload.write("latency", {"seconds": 3})
    cpuinfo = "model name\t: Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz\nflags\t: fpu avx2 avx512_vnni amx_int8\n"
    workload.write("latency", {"seconds": 2})
    workload.write("latency", {"seconds": 1})
    workload.write("latency", {"seconds": 0}, gpu="NVIDIA H100 80GB HBM3")
    stored = json.loads((tmp_path / "latency.json").read_text(encoding="utf-8"))
    assert {key: result["seconds"] for key, result in stored.items()} == {
        "amd-epyc-9b14-2-cores-vnni": 3,
        "intel-xeon-platinum-8481c-2-cores-amx": 1,
        "nvidia-h100-80gb-hbm3": 0,
    }
    latest = stored["intel-xeon-platinum-8481c-2-cores-amx"]
    assert latest["processor_flags"] == ["avx2", "avx512_vnni", "amx_int8"]
    assert latest["command"] == "python benchmarks/latency.py --rounds 5"


def test_a_stored_command_names_models_of_the_hub_but_no_folder_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["org/model", "org/model@onnx:int8", str(tmp_path), f"{tmp_path}@onnx:int8"]
    monkeypatch.setattr("sys.argv", ["benchmarks/quality.py", *names, "--data", str(tmp_path), "--depth", "50"])
    known, folder = "org/model org/model@onnx:int8", f"FOLDER/{tmp_path.name}"
    assert workload.command() == f"python benchmarks/quality.py {known} {folder} {folder}@onnx:int8 --depth 50"


def test_operations_are_two_per_weight_and_token_and_those_of_attention() -> None:
    weights = make_weights("bert", vocabulary=100, labels=1)
    config = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": LAYERS}
    products = [array.size for name, array in weights.items() if ".layer." in name and array.ndim == 2]
    attention = sum(2 * 2 * 32 * length**2 * LAYERS for length in (3, 50))
    assert matrix_limit.operations(config, [3, 50]) == 2 * 53 * sum(products) + attention


def test_a_restricted_last_layer_needs_all_tokens_for_keys_and_values_only() -> None:
    config = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1}
    both, rest, attention = 2 * 2 * 32 * 32, 2 * (2 * 32 * 32 + 2 * 32 * 64), 2 * 2 * 32
    expected = 50 * both + rest + 50 * attention
    assert matrix_limit.operations(config, [50], last_layer_whole=False) == expected


@pytest.mark.parametrize("machine", BUDGETS)
def test_the_token_budget_costs_at_most_a_tenth_more_than_the_best_that_was_measured(machine: str) -> None:
    over = {
        engine: by_budget[str(TOKEN_BUDGET)]["processor_s"] / min(each["processor_s"] for each in by_budget.values())
        for engine, by_budget in BUDGETS[machine]["seconds"].items()
        if not engine.endswith("dynamic")  # has one pair per batch, for exactness
    }
    assert max(over.values()) <= 1.1, over
