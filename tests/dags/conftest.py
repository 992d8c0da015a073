"""These tests run in the Airflow environment (`make test` does that); elsewhere they are skipped."""

import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "dags"))

if importlib.util.find_spec("airflow") is None:
    collect_ignore_glob = ["test_*.py"]
else:
    # Airflow reads its settings when it is first imported, so they must stand before any test module is.
    HOME = tempfile.TemporaryDirectory(prefix="microrec-airflow-", ignore_cleanup_errors=True)
    os.environ.update(
        AIRFLOW_HOME=HOME.name,
        AIRFLOW__CORE__DAGS_FOLDER=str(ROOT / "dags"),
        AIRFLOW__CORE__LOAD_EXAMPLES="False",
        AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=f"sqlite:///{HOME.name}/airflow.db",
        AIRFLOW__API_AUTH__JWT_SECRET="for-tests-only-" * 6,
    )


@pytest.fixture(scope="session")
def airflow_database():
    """A migrated SQLite database."""
    subprocess.run([sys.executable, "-m", "airflow", "db", "migrate"], check=True, capture_output=True)
