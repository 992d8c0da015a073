"""MLflow: the one place that talks to it (`registry.connection` reaches it)."""

import math
import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from model.epoch import EpochReport
from pipeline.documents import without_passwords
from pipeline.errors import InputError
from pipeline.registry.connection import connect, unless_exists, unless_missing

if TYPE_CHECKING:
    from mlflow.entities import Run as MlflowRun
    from mlflow.entities.model_registry import ModelVersion as MlflowVersion
    from mlflow.models import ModelSignature
    from mlflow.pyfunc import PyFuncModel


RUN_TAG, DIGEST_TAG = "microrec.run_id", "microrec.release_digest"
EPOCH_NUMBERS = ("loss", "ranking", "contrastive", "learning_rate", "seconds")
PARENT_TAG = "mlflow.parentRunId"
CHAMPION = "champion"
_FORBIDDEN = re.compile(r"[^0-9A-Za-z_\-. /]")


@dataclass(frozen=True, kw_only=True)
class MlflowConfig:
    """Where runs are logged and models registered."""

    tracking_uri: str = "sqlite:///{store.root}/mlflow.db"
    """`sqlite:///FILE`, `postgresql+psycopg2://…` or a server's address; `{store.root}` is filled in."""
    experiment: str = "microrec"
    model_name: str = "microrec"

    def __post_init__(self) -> None:
        for name in ("tracking_uri", "experiment", "model_name"):
            if not getattr(self, name).strip():
                raise ValueError(f"{name} is empty; name one, or leave the key out")
        if "/" in self.model_name or ":" in self.model_name:
            raise ValueError(f"model_name is {self.model_name!r}; MLflow allows neither '/' nor ':' in it")


@dataclass(frozen=True)
class Metric:
    """One value of one metric; `seconds` counts from the start of the run."""

    name: str
    value: float
    step: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class ModelVersion:
    """A registered version and the run and release it was made from, as its tags say."""

    name: str
    version: str
    run_id: str | None
    digest: str | None
    mlflow_run_id: str | None = None


def mlflow_name(text: str) -> str:
    """Spell `text` with the characters MLflow allows in names: `test/recall@20` becomes `test/recall_at_20`."""
    return _FORBIDDEN.sub("_", text.replace("@", "_at_"))


class Tracking:
    """One MLflow: the runs of an experiment and the versions of one model."""

    def __init__(self, uri: str, config: MlflowConfig, artifacts: Path | None, database: Path | None) -> None:
        self._uri, self._config = uri, config
        self._artifacts = artifacts.as_uri() if artifacts else None
        self._client = connect(uri, database, artifacts)

    @property
    def shown_uri(self) -> str:
        """The address without a password, for people and files."""
        return str(without_passwords(self._uri))

    @property
    def model_name(self) -> str:
        """Name of the registered model."""
        return self._config.model_name

    def start_run(self, run_id: str, parent: "MlflowRun | None" = None) -> "MlflowRun":
        """Return the MLflow run of this run of ours, creating it, under `parent`, unless an earlier attempt has."""
        experiment = self._experiment_id()
        found = self._client.search_runs([experiment], f"tags.`{RUN_TAG}` = '{run_id}'", max_results=1)
        tags = {RUN_TAG: run_id} | ({PARENT_TAG: parent.info.run_id} if parent else {})
        return found[0] if found else self._client.create_run(experiment, tags=tags, run_name=run_id)

    def _experiment_id(self) -> str:
        name = self._config.experiment
        experiment = self._client.get_experiment_by_name(name)
        if experiment is None:
            unless_exists(lambda: self._client.create_experiment(name, artifact_location=self._artifacts))
            experiment = self._client.get_experiment_by_name(name)
        if experiment is None or experiment.lifecycle_stage != "active":
            raise InputError(
                f"mlflow.experiment {name!r} was deleted on {self.shown_uri}; restore it there or name another"
            )
        return str(experiment.experiment_id)

    def log_parameters(self, run: "MlflowRun", parameters: Mapping[str, str]) -> None:
        """Log parameters; the same again changes nothing.

        Raises `InputError` where the run has other ones: it was logged by another run of ours with the same id.
        """
        from mlflow.entities import Param
        from mlflow.exceptions import MlflowException

        logged = [Param(mlflow_name(key), value) for key, value in parameters.items()]
        try:
            self._client.log_batch(run.info.run_id, params=logged)
        except MlflowException as error:
            if "Changing param values is not allowed" not in str(error):
                raise
            raise self._taken(run) from error

    def require_same_release(self, run: "MlflowRun", digest: str) -> None:
        """Raise `InputError` where another release was registered from this MLflow run."""
        found = self._client.search_model_versions(f"name = '{self.model_name}' AND run_id = '{run.info.run_id}'")
        if any(version.tags.get(DIGEST_TAG, digest) != digest for version in found):
            raise self._taken(run)

    def _taken(self, run: "MlflowRun") -> InputError:
        return InputError(
            f"run id {run.data.tags.get(RUN_TAG)!r} was used on {self.shown_uri} with other settings or data "
            f"(another store?); use a new run id, or another mlflow.experiment than {self._config.experiment!r}"
        )

    def log_metrics(self, run: "MlflowRun", metrics: list[Metric]) -> None:
        """Log the finite ones; the same again changes nothing, for their times count from the start of the run."""
        from mlflow.entities import Metric as Logged

        start = run.info.start_time
        logged = [
            Logged(mlflow_name(metric.name), metric.value, start + round(metric.seconds * 1000), metric.step)
            for metric in metrics
            if math.isfinite(metric.value)
        ]
        self._client.log_batch(run.info.run_id, metrics=logged)

    def log_inputs(self, run: "MlflowRun", digests: Mapping[str, str]) -> None:
        """Log input files with their sha256; MLflow's digest field holds its first 36 characters."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        inputs = [
            DatasetInput(
                Dataset(name=name[-500:], digest=sha256[:36], source_type="file", source=name),
                [InputTag("mlflow.data.context", "training"), InputTag("sha256", sha256)],
            )
            for name, sha256 in digests.items()
        ]
        self._client.log_inputs(run.info.run_id, inputs)

    def log_file(self, run: "MlflowRun", file: Path, folder: str | None = None) -> None:
        """Keep a file as an artifact, under its own name."""
        self._client.log_artifact(run.info.run_id, str(file), folder)

    def log_model(
        self,
        run: "MlflowRun",
        code: Path,
        artifacts: Mapping[str, Path],
        signature: "ModelSignature",
        *,
        anew: bool = False,
        **options: Any,
    ) -> str:
        """Log a model given as code and files, and return its id.

        The model an earlier attempt logged is kept, unless it is to be logged `anew`: its files may be gone.
        """
        import mlflow
        from mlflow.entities import LoggedModelStatus

        logged = self._client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run.info.run_id}'")
        finished = [str(model.model_id) for model in logged if model.status == LoggedModelStatus.READY]
        if finished and not anew:
            return finished[0]
        with self._as_current(), warnings.catch_warnings(), mlflow.start_run(run_id=run.info.run_id):
            warnings.simplefilter("ignore")  # MLflow's own, about pandas and SQLAlchemy
            info = mlflow.pyfunc.log_model(
                name=self.model_name,
                python_model=str(code),
                artifacts={name: str(path) for name, path in artifacts.items()},
                signature=signature,
                **options,
            )
        return str(info.model_id)

    @contextmanager
    def _as_current(self) -> Iterator[None]:
        """MLflow looks a logged model up by its global address: set it, and put back what was there."""
        import mlflow

        before = os.environ.get("MLFLOW_TRACKING_URI"), mlflow.get_tracking_uri(), mlflow.get_registry_uri()
        mlflow.set_tracking_uri(self._uri)
        mlflow.set_registry_uri(self._uri)
        try:
            yield
        finally:
            mlflow.set_tracking_uri(before[1])
            mlflow.set_registry_uri(before[2])
            os.environ.pop("MLFLOW_TRACKING_URI", None)
            os.environ.update({"MLFLOW_TRACKING_URI": before[0]} if before[0] else {})

    def register(self, run: "MlflowRun", model_id: str, tags: Mapping[str, str], description: str) -> str:
        """Return the version registered from this run and model, creating it unless an earlier attempt has."""
        unless_exists(lambda: self._client.create_registered_model(self.model_name))
        found = self._client.search_model_versions(f"name = '{self.model_name}' AND run_id = '{run.info.run_id}'")
        source = f"models:/{model_id}"
        same = [str(one.version) for one in found if one.source == source]
        if same:
            return same[0]
        with self._as_current():
            version = self._client.create_model_version(
                self.model_name,
                source=source,
                run_id=run.info.run_id,
                tags=dict(tags),
                description=description,
                model_id=model_id,
            )
        return str(version.version)

    def tag_version(self, version: str, tags: Mapping[str, str]) -> None:
        """Set tags of a version; those of other names stay."""
        for name, value in tags.items():
            self._client.set_model_version_tag(self.model_name, version, name, value)

    def finish(self, run: "MlflowRun") -> None:
        """Mark the run as finished."""
        self._client.set_terminated(run.info.run_id)

    def version(self, version: str) -> ModelVersion | None:
        """Look a version up; None where the registry has no such."""
        found = unless_missing(lambda: self._client.get_model_version(self.model_name, version))
        return None if found is None else self._version(found)

    def _version(self, found: "MlflowVersion") -> ModelVersion:
        tags = found.tags
        return ModelVersion(self.model_name, str(found.version), tags.get(RUN_TAG), tags.get(DIGEST_TAG), found.run_id)

    def versions_of(self, run_id: str) -> list[ModelVersion]:
        """Versions that were registered from a run of ours, oldest first."""
        found = self._client.search_model_versions(f"name = '{self.model_name}' AND tags.`{RUN_TAG}` = '{run_id}'")
        return sorted((self._version(one) for one in found), key=lambda one: int(one.version))

    @contextmanager
    def loaded(self, name: str) -> Iterator["PyFuncModel"]:
        """A version's model (`@champion`, `/3`) as a consumer loads it; what is fetched for it goes again."""
        import mlflow

        with TemporaryDirectory(prefix="microrec-") as folder, self._as_current(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # MLflow's own
            place = None if self._artifacts else folder  # a folder on this machine is read where it is
            yield mlflow.pyfunc.load_model(f"models:/{self.model_name}{name}", dst_path=place)

    def artifacts_of(self, name: str) -> str:
        """Where MLflow says that the files of a version's model lie."""
        look_up = self._client.get_model_version_by_alias if name[0] == "@" else self._client.get_model_version
        version = look_up(self.model_name, name[1:]).version
        return str(self._client.get_model_version_download_uri(self.model_name, version))

    def version_numbers(self) -> list[str]:
        """All versions of the model, oldest first."""
        found = self._client.search_model_versions(f"name = '{self.model_name}'")
        return [str(version) for version in sorted(int(entry.version) for entry in found)]

    def champion(self) -> str | None:
        """The version that the alias `champion` names, or None."""
        found = unless_missing(lambda: self._client.get_model_version_by_alias(self.model_name, CHAMPION))
        return None if found is None else str(found.version)

    def set_champion(self, version: str) -> None:
        """Move the alias `champion`."""
        self._client.set_registered_model_alias(self.model_name, CHAMPION, version)


def epoch_metrics(history: Sequence[EpochReport]) -> list[Metric]:
    """Every number of every epoch: `train/loss`, and `validation/recall@20` on epochs that end in a check."""
    metrics, elapsed = [], 0.0
    for report in history:
        elapsed += report.seconds
        values = {f"train/{name}": getattr(report, name) for name in EPOCH_NUMBERS}
        values |= {f"validation/{name}": value for name, value in (report.validation or {}).items()}
        metrics += [Metric(name, float(value), report.epoch, elapsed) for name, value in values.items()]
    return metrics
