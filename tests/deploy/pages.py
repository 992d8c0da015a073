"""Pages of a stack's Airflow and MLflow as an administrator sees them, and pictures of them."""

import os
import time
from pathlib import Path
from urllib.parse import quote

from tests.deploy.browser import Browser


def screens_folder(default):
    """Where screenshots go: `MICROREC_SCREENSHOTS`, or a folder that the test gives."""
    return Path(os.environ.get("MICROREC_SCREENSHOTS", default))


class Pages(Browser):
    """A browser that is logged in to a stack's Airflow; use it as a context manager."""

    def __init__(self, stack, folder):
        self.stack, self.folder = stack, folder
        self.mlflow = f"127.0.0.1:{stack.settings['MLFLOW_PORT']}"

    def __enter__(self):
        super().__enter__()
        try:
            self.open(self.stack.airflow.base)
            self.set_cookie("_token", self.stack.airflow.log_in())
            self.remember("default_dag_view", '"grid"')
        except BaseException:
            self.__exit__()
            raise
        return self

    def save(self, name):
        """Write a screenshot, once all is drawn; it must show something."""
        time.sleep(5)  # a page is drawn after its texts are there
        path = self.folder / f"{name}.png"
        super().save(path)
        assert path.stat().st_size > 20_000

    def open_airflow(self, place, *texts):
        self.open(f"{self.stack.airflow.base}/{place}", *texts)

    def open_run(self, dag_id, run_id, *texts):
        self.open_airflow(f"dags/{dag_id}/runs/{quote(run_id)}", *texts)

    def log_in_to_mlflow(self):
        """The browser logs in once and remembers; the page itself may not be opened by an address with a password."""
        password = self.stack.settings["MLFLOW_ADMIN_PASSWORD"]
        self.open(f"http://admin:{password}@{self.mlflow}/", "Experiments")
        self.remember("mlflow.assistant.fab.autoOpenedOnFirstLoad_v1", "true")
        self.remember("mlflow.assistant.panelOpen_v1", "false")
        self.open(f"http://{self.mlflow}/")

    def open_mlflow(self, place, *texts, without=""):
        self.open(f"http://{self.mlflow}/#/{place}", *texts, without=without)
