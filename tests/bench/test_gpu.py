import argparse
import json
import subprocess
import sys

import pytest
import torch

from bench import gpu
from bench.measure import Report


def test_gpu_dry_run_on_the_cpu_agrees_and_measures_everything(monkeypatch, capsys):
    arguments = ["--device", "cpu", "--items", "2000", "--pairs", "20000", "--epochs", "5"]
    monkeypatch.setattr(sys, "argv", ["bench.gpu", *arguments])
    with pytest.raises(SystemExit) as stopped:
        gpu.main()
    assert stopped.value.code == 0
    bars = json.loads(capsys.readouterr().out)["bars"]
    assert [bar["holds"] for bar in bars] == [True, False, False, False, False]  # a dry run claims no bar but agreement


@pytest.mark.gpu
def test_check_on_a_gpu_agrees_with_the_cpu():
    report = Report("check")
    assert gpu.check(report, torch.device("cuda")), report.rows


def test_error_is_relative_where_entries_are_small_and_sees_nan():
    small, large = torch.tensor([1e-6, 0.0]), torch.tensor([50.0])
    assert gpu._error([small, large + 0.5], [small, large]) == pytest.approx(0.5)
    assert gpu._error([2 * small, large], [small, large]) == pytest.approx(1.0)
    assert not gpu._error([small, large * torch.nan], [small, large]) <= gpu.TOLERANCE


def test_extraction_without_the_encoder_s_library_is_not_measured(monkeypatch, tmp_path):
    for library in ("timm", "openvino"):
        (tmp_path / f"{library}.py").write_text("raise ModuleNotFoundError('no library')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    report = Report("bare image")
    gpu._extraction(report, torch.device("cpu"), argparse.Namespace(), 0.002)
    (row,) = report.rows
    assert (row.what, row.value, row.note) == ("image extraction", "not measured", "ModuleNotFoundError: no library")


def test_gpu_needs_torch_and_numpy_alone():
    absent = ["polars", "pyarrow", "rich", "upath", "safetensors", "faiss", "scipy", "PIL", "timm"]
    without = f"import sys; sys.modules |= dict.fromkeys({absent}); import bench.gpu"
    subprocess.run([sys.executable, "-c", without], check=True)
