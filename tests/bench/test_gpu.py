import json
import sys

import pytest

from bench import gpu


def test_gpu_dry_run_on_the_cpu_agrees_and_measures_everything(monkeypatch, capsys):
    arguments = ["--device", "cpu", "--items", "2000", "--pairs", "20000", "--epochs", "5"]
    monkeypatch.setattr(sys, "argv", ["bench.gpu", *arguments])
    with pytest.raises(SystemExit) as stopped:
        gpu.main()
    assert stopped.value.code == 0
    bars = json.loads(capsys.readouterr().out)["bars"]
    assert [bar["holds"] for bar in bars] == [True, False, False, False]  # a dry run claims no bar but agreement
