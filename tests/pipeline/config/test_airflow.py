"""The section `[airflow]`: checked here, read by dags/microrec_settings.py, and held alike."""

import dataclasses
import importlib.util
import sys
from pathlib import Path

import pytest

from pipeline.config.airflow import AirflowConfig
from pipeline.config.config import compose
from pipeline.errors import ConfigError

FILE = Path(__file__).resolve().parents[3] / "dags" / "microrec_settings.py"
CATALOGUE = {"items": "items.parquet", "interactions": ["x.parquet"]}


@pytest.fixture(scope="module")
def settings():
    """The DAGs' module, which needs no Airflow."""
    spec = importlib.util.spec_from_file_location("microrec_settings", FILE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def config_of(section):
    return compose({"catalogue": CATALOGUE, "airflow": section}, base=Path()).airflow


def test_settings_of_dags_and_configuration_have_the_same_keys_and_defaults(settings):
    assert dataclasses.asdict(settings.AirflowSettings()) == dataclasses.asdict(AirflowConfig())
    own = {"schedule": "30 4 * * 1", "start_on": "either", "shards": 7, "gpu_pool": "big", "deadline_hours": 0.5}
    assert dataclasses.asdict(settings.settings_of(own)) == dataclasses.asdict(config_of(own))


@pytest.mark.parametrize(
    "section",
    [
        {"schedul": "0 2 * * *"},
        {"schedule": "daily"},
        {"schedule": 2},
        {"start_on": "first"},
        {"shards": 0},
        {"shards": 257},
        {"shards": "two"},
        {"encode_pool": ""},
        {"image_queue": "cpu"},
        {"timeout_hours": 0},
        {"train_timeout_hours": -1},
        {"deadline_hours": "1h"},
        {"approval_days": 10_000},
        "none",
    ],
)
def test_settings_that_cannot_be_are_refused_by_dags_and_commands_alike(settings, section):
    with pytest.raises(ValueError, match="airflow"):
        settings.settings_of(section)
    with pytest.raises(ConfigError, match="airflow"):
        config_of(section)


def test_as_dict_leaves_the_schedule_out_so_that_a_run_goes_on_after_it_was_changed():
    document = {"catalogue": CATALOGUE, "airflow": {"schedule": "30 4 * * *"}}
    plain = compose({"catalogue": CATALOGUE}, base=Path())
    assert compose(document, base=Path()).as_dict() == plain.as_dict()
