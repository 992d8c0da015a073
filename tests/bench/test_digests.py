import json
import subprocess
import sys

import pytest

from bench import digests

LOOK = """
import sys
from pathlib import Path
from upath import UPath
import pipeline.dataset.feature_store, pipeline.release.verify, pipeline.stages.checkpoint, pipeline.storage.committed
print(pipeline.release.verify.file_sha256(Path(sys.argv[1])), pipeline.storage.committed.digests_of(Path(sys.argv[2])))
print(pipeline.dataset.feature_store._digest(None), pipeline.stages.checkpoint._digest("", {}))
"""


def test_without_digests_no_file_is_read_for_one(tmp_path):
    (tmp_path / "file").touch()
    command = [sys.executable, "-c", digests.WITHOUT + LOOK, "/nowhere", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    zero = "0" * 64
    assert done.stdout.splitlines() == [f"{zero} {{'file': '{zero}'}}", f"{zero.encode()} {zero}"]


def test_measure_takes_turns_leaves_the_first_nights_out_and_judges_the_median(tmp_path, monkeypatch, capsys):
    nights, lasts = [], {"with": [9.0, 2.0, 1.0, 1.0], "without": [5.0, 1.0, 1.0, 1.0]}

    def night(side, run_id, config, folder, overrides):
        nights.append((side, run_id, overrides))

    def seconds(function):
        function()
        side, run_id, _ = nights[-1]
        return lasts[side][int(run_id.removeprefix("night-"))]

    monkeypatch.setattr(digests, "_night", night)
    monkeypatch.setattr(digests, "seconds", seconds)
    digests.measure(tmp_path / "microrec.toml", tmp_path, 3, ["train.seed=1"])
    assert [side for side, *_ in nights] == ["without", "with", "with", "without"] * 2
    assert all(overrides == ["train.seed=1"] for *_, overrides in nights)
    (bar,) = json.loads(capsys.readouterr().out)["bars"]
    assert bar == {"text": bar["text"], "measured": "+0.0% (+0.0% to +100.0%), 3 pairs", "holds": True}


def test_night_has_a_store_of_its_side_and_raises_where_it_does_not_end_well(tmp_path, monkeypatch):
    program = (
        "import sys, pathlib; pathlib.Path(sys.argv[5]).write_text(repr(sys.argv[1:])); sys.exit(len(sys.argv[8:]))"
    )
    monkeypatch.setattr(digests, "SIDES", {"with": program})
    said = tmp_path / "said"
    digests._night("with", "night-1", said, tmp_path, [])
    asked = ["run", "--run-id", "night-1", "-c", str(said), "--set", f"store.root={tmp_path / 'with'}"]
    assert said.read_text() == repr(asked)
    with pytest.raises(subprocess.CalledProcessError):
        digests._night("with", "night-1", said, tmp_path, ["train.seed=1"])
