"""What a check leaves for later."""

import pytest

from slowfast.datasets.manifest import (
    Probe,
    file_state,
    known_failures,
    read_manifest,
    write_manifest,
)
from slowfast.datasets.records import Records


def test_a_manifest_reads_back(tmp_path):
    good = Probe("a b.mp4", 10, 123, "", 40, 29.97, 48, 64, True, "ab12", True)
    broken = Probe("é.mp4", 0, 0, 'é.mp4 is "broken"')
    write_manifest(tmp_path / "m.jsonl", [good, broken])
    assert read_manifest(tmp_path / "m.jsonl") == {"a b.mp4": good, "é.mp4": broken}
    assert read_manifest(tmp_path / "m.jsonl", only_broken=True) == {"é.mp4": broken}
    assert [path.name for path in tmp_path.iterdir()] == ["m.jsonl"]
    assert good.duration == pytest.approx(40 / 29.97) and broken.duration == 0


def test_no_manifest_knows_nothing(tmp_path):
    assert read_manifest(tmp_path / "m.jsonl") == {}
    assert known_failures(Records(["a"], [0]), tmp_path / "m.jsonl") == {}
    assert known_failures(Records(["a"], [0]), None) == {}


def test_a_damaged_manifest_is_told_with_the_line(tmp_path):
    write_manifest(tmp_path / "m.jsonl", [Probe("a", 0, 0, "gone")])
    with open(tmp_path / "m.jsonl", "a") as file:
        file.write('{"ok": false, "name"')
    with pytest.raises(ValueError, match=r"m\.jsonl, line 2: .*remove the file and run"):
        read_manifest(tmp_path / "m.jsonl")


def test_only_broken_files_that_did_not_change_count(tmp_path):
    for name in ("same", "mended"):
        (tmp_path / name).write_bytes(b"x")
    names = ["good", "same", "mended", "missing", "came back"]
    probes = [Probe(n, *file_state(str(tmp_path / n)), "" if n == "good" else n) for n in names]
    write_manifest(tmp_path / "m.jsonl", probes)
    (tmp_path / "mended").write_bytes(b"xyz")
    (tmp_path / "came back").write_bytes(b"x")
    records = Records(names, [0] * 5, tmp_path)
    assert known_failures(records, tmp_path / "m.jsonl") == {1: "same", 3: "missing"}
