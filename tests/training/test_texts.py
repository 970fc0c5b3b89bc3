import io
import lzma
import tarfile
import zipfile
from pathlib import Path

import pytest

from training import inputs, texts

MODULE = '''
\x0c
class Lake:
    def measureDepth(self, unit):
        """Return how deep the lake is.

        The depth is taken at the deepest point that the latest survey found, in the unit that is asked for, and
        rounded to whole numbers, since surveys of the same lake differ by much more than that from each other.
        """
        depth = self.survey.deepest()
        return round(unit.of(depth))
'''


def wheel(**files: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name.replace("__", "/") + ".py", content)
    return buffer.getvalue()


def test_a_docstring_and_the_source_answer_its_first_sentence_and_the_name() -> None:
    ((prose, code),) = texts._package("lakes", wheel(lakes__lake=MODULE, lakes__tests__lake=MODULE))
    assert prose.queries == code.queries == ["Return how deep the lake is", "lakes measure depth"]
    assert prose.sentences[0].startswith("The depth is taken")
    assert [line.strip() for line in code.sentences] == [
        "def measureDepth(self, unit):",
        "depth = self.survey.deepest()",
        "return round(unit.of(depth))",
    ]


def test_definitions_come_from_wordnets_files(monkeypatch: pytest.MonkeyPatch) -> None:
    import random

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for part in ("noun", "verb", "adj", "adv"):
            text = (
                f'  1 licence\n00001740 03 n 02 {part}_one 0 other(a) 0 000 | a thing that is one of them; "so it is"\n'
            )
            member = tarfile.TarInfo(f"package/dict/data.{part}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    monkeypatch.setattr(texts, "DEFINITIONS", 4)
    units = list(texts._wordnet(buffer.getvalue(), random.Random(0)))
    assert {unit.title for unit in units} == {"noun one", "verb one", "adj one", "adv one"}
    assert all("a thing that is one of them" in unit.sentences[0] for unit in units)
    assert all("other" in unit.sentences[0] and unit.sentences[1] == "so it is" for unit in units)


def test_groups_are_held_out_as_a_whole() -> None:
    assert texts.Unit("prose", "a", "", [], []).held_out == texts.Unit("code", "a", "", [], []).held_out
    share = sum(texts.Unit("squad", str(place), "", [], []).held_out for place in range(2000)) / 2000
    assert 0.03 < share < 0.07


def test_an_input_with_another_hash_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="get it from https://rajpurkar"):
        inputs.read("squad", [tmp_path])
    (tmp_path / "squad11-train.jsonl.xz").write_bytes(lzma.compress(b"{}\n"))
    with pytest.raises(ValueError, match=r"has the SHA-256 .*; get it again from"):
        inputs.read("squad", [tmp_path])


def test_every_input_of_the_table_has_a_source_and_a_hash() -> None:
    files = inputs.files()
    assert len(files) > 20
    assert all(source and len(sha256) == 64 for _, source, sha256 in files.values())
