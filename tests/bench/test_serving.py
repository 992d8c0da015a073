"""The bench of the registered model, on a small release."""

from bench.measure import Report
from bench.serving import make_served, measure_memory, measure_speed


def test_measure_speed_tells_users_a_second_by_batch(tmp_path):
    report = Report("serving")
    make_served(tmp_path / "release", 500, 300)
    measure_speed(report, tmp_path / "release", 500, 300)
    assert [row.what for row in report.rows] == ["batch of 1", "batch of 32", "batch of 2048"]
    (bar,) = report.bars
    assert bar.measured.endswith("users/s")


def test_measure_memory_counts_what_workers_share_once(tmp_path, monkeypatch):
    pss = {("release", 1): 300, ("small", 1): 100, ("release", 4): 640, ("small", 4): 400}
    monkeypatch.setattr("bench.serving.proportional_set", lambda count, folder, users: pss[folder.name, count])
    report = Report("serving")
    measure_memory(report, tmp_path, 300)
    (bar,) = report.bars
    assert (bar.measured, bar.holds) == ("1.20 x", True)
