"""The page that `make bench` writes."""

import json
import subprocess
import sys

import pytest

import bench.__main__
from bench.__main__ import SIZES, bars, growth, main


def test_growth_says_the_exponent_between_sizes():
    reports = [{"stages": {"one epoch": seconds}} for seconds in (2.0, 20.0, 2000.0)]
    *_, row, _ = growth([{"stages": {}}, *reports])
    assert row == "| one epoch | 2.00 | 1.00 | 20.00 | 2.00 | 2000.00 |"


def test_growth_needs_every_size():
    assert growth([{"stages": {"one epoch": 1.0}}] * (len(SIZES) - 1)) == []


def test_bars_that_fail_stand_out():
    lines = bars([{"bars": [{"text": "at least 40 x", "measured": "29 x", "holds": False}]}])
    assert "| at least 40 x | 29 x | **no** |" in lines


def test_main_measures_what_is_named_and_keeps_the_other_readings(tmp_path, monkeypatch):
    (tmp_path / "docs").mkdir()
    (tmp_path / "bench").mkdir()
    monkeypatch.chdir(tmp_path)
    report = {"title": "graphs", "rows": [], "bars": [], "stages": {}}

    def benchmark(command, **_):
        failed = command[-1] == "bench.epoch"
        return subprocess.CompletedProcess(command, int(failed), json.dumps(report | {"title": command[-1]}))

    monkeypatch.setattr(subprocess, "run", benchmark)
    monkeypatch.setattr(sys, "argv", ["bench", "graph", "evaluation"])
    main()
    monkeypatch.setattr(sys, "argv", ["bench", "graph", "epoch"])
    with pytest.raises(SystemExit, match="no reading of: epoch"):
        main()
    page = (tmp_path / bench.__main__.TARGET).read_text()
    assert page.count("## Bench.graph") == page.count("## Bench.evaluation") == 1
    assert "Bench.epoch" not in page
