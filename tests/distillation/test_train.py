import gzip
import json
import pickle
import sys
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer

from distillation.__main__ import main
from distillation.corpus import Corpus
from distillation.groups import MIXTURE, Bucket, Groups
from distillation.models import student_of
from distillation.teachers import Teachers
from distillation.train import evaluate, losses, score, train
from tests.weights.lay_out import TOKENIZER


@pytest.fixture
def groups(corpus: Corpus, tokenizer: Tokenizer) -> Groups:
    return Groups(corpus, tokenizer, held_out=False, size=4, seed=0)


def test_steps_lower_the_loss(teachers: Teachers, groups: Groups) -> None:
    student, batch = student_of(teachers.cross, layers=2), groups[0]
    optimizer = torch.optim.AdamW([one for one in student.parameters() if one.requires_grad], 1e-5)
    seen = []
    for _ in range(4):
        loss = losses(student, teachers, batch, 5.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seen.append(loss.item())
    assert seen[-1] < 0.9 * seen[0], seen


def test_the_whole_teacher_as_the_student_loses_nothing(
    teachers: Teachers, groups: Groups, monkeypatch: pytest.MonkeyPatch
) -> None:
    # what the cross-encoder does not know
    monkeypatch.setattr("distillation.groups.MIXTURE", dict.fromkeys(MIXTURE, (0.5, 0.0)))
    student, batch = student_of(teachers.cross, layers=4), groups[0]
    assert losses(student, teachers, batch, 5.0).item() == pytest.approx(0, abs=1e-6)
    found = evaluate(student, [(batch, score(teachers, batch)[0])])
    assert found["mse"] == pytest.approx(0, abs=1e-6)
    assert found["order"] > 0.9  # equal logits have no order


def test_a_run_that_was_interrupted_ends_as_one_that_was_not(
    teachers: Teachers,
    groups: Groups,
    corpus: Corpus,
    tokenizer: Tokenizer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("distillation.train.HELD_OUT", 32)
    held_out = Groups(corpus, tokenizer, held_out=True, size=4, seed=0)

    class Interrupted(Exception):
        pass

    class Stopping:
        size = groups.size

        def __init__(self, stop: int) -> None:
            self.stop = stop

        def __getitem__(self, step: int) -> list[Bucket]:
            if step == self.stop:
                raise Interrupted
            return groups[step]

    def trained(file: Path, stop: int) -> dict[str, torch.Tensor]:
        train(student_of(teachers.cross, layers=2), teachers, Stopping(stop), held_out, file, pairs=3 * 32)  # type: ignore[arg-type]
        state: dict[str, torch.Tensor] = torch.load(file)[-2]  # of the last step; the best can be an earlier one
        return state

    whole = trained(tmp_path / "whole", -1)
    with pytest.raises(Interrupted):
        trained(tmp_path / "parts", 2)
    again = trained(tmp_path / "parts", -1)
    first = student_of(teachers.cross, layers=2).state_dict()
    assert not torch.equal(whole["classifier.weight"], first["classifier.weight"])
    assert all(torch.equal(values, again[name]) for name, values in whole.items())


def test_the_command_trains_from_what_was_prepared_and_says_what_is_missing(
    teachers: Teachers, corpus: Corpus, tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def run(*arguments: str) -> None:
        monkeypatch.setattr(sys, "argv", ["distillation", "--work", str(tmp_path), *arguments])
        main()

    with pytest.raises(SystemExit):
        run()
    assert "is not prepared; give --data and --teacher" in capsys.readouterr().err
    for name in ("model.onnx", *TOKENIZER):
        (tmp_path / name).write_text("{}", encoding="utf-8")
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "corpus.gz").write_bytes(gzip.compress(pickle.dumps(corpus)))
    monkeypatch.setattr("distillation.__main__.load_teachers", lambda work: teachers)
    monkeypatch.setattr("distillation.train.HELD_OUT", 32)
    run("--layers", "2", "--pairs", "64", "--batch", "32", "--device", "cpu")
    folder = tmp_path / "2-layers-seed-0"
    assert json.loads((folder / "model/config.json").read_text(encoding="utf-8"))["num_hidden_layers"] == 2
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert set(report) == {"order", "mse", "ndcg", "teacher's ndcg"}
