"""What every test has in common."""

import os

import pytest

os.environ.setdefault("GOMP_SPINCOUNT", "3000")  # as `microrec` does, before torch is loaded


def pytest_runtest_setup(item):
    """Skip tests marked `gpu` where there is none; torch is not there in Airflow's environment."""
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("no CUDA device")
