"""What every test has in common."""

from contextlib import suppress

import pytest

from pipeline import process

with suppress(ImportError):  # it is not in Airflow's environment
    from hypothesis import settings

    settings.register_profile("any machine", deadline=None)  # a busy one takes its time
    settings.load_profile("any machine")
process.set_up()  # as `microrec` does, before torch and MLflow are loaded


def pytest_runtest_setup(item):
    """Skip tests marked `gpu` where there is none; torch is not there in Airflow's environment."""
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("no CUDA device")
