"""MLflow: the one place that talks to it (`registry.connection` reaches it)."""

import json
import math
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from pipeline.addresses import without_secrets
from pipeline.errors import InputError
from pipeline.registry.connection import connect, unless_exists, unless_missing
from pipeline.registry.logged_tables import LoggedTable
from pipeline.registry.metrics import Metric, mlflow_name
from pipeline.storage.committed import digests_of
from pipeline.storage.files import file_sha256

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as MlflowRun
    from mlflow.entities.model_registry import ModelVersion as MlflowVersion
    from mlflow.models import ModelSignature


RUN_TAG, DIGEST_TAG = "microrec.run_id", "microrec.release_digest"
AS_OF_TAG, VERSION_TAG = "microrec.as_of", "microrec.version"
MANIFEST_TAG, FILES_TAG = "microrec.manifest_sha256", "microrec.model_files"
EMBEDDER_TAG = "microrec.embedder_version"
PARENT_TAG, DESCRIPTION_TAG = "mlflow.parentRunId", "mlflow.note.content"
CHAMPION = "champion"


@dataclass(frozen=True, kw_only=True)
class MlflowConfig:
    """Where runs are logged and models registered."""

    tracking_uri: str = "sqlite:///{store.root}/mlflow.db"
    """`sqlite:///FILE`, `postgresql+psycopg2://…` or a server's address; `{store.root}` is filled in. Write a password
    with escapes (`/` as `%2F`, `@` as `%40`). An ambiguous address is refused."""
    experiment: str = "microrec"
    """MLflow's experiment that has the runs."""
    model_name: str = "microrec"
    """Name of the registered model. Several shops need several names."""

    def __post_init__(self) -> None:
        for name in ("tracking_uri", "experiment", "model_name"):
            if not getattr(self, name).strip():
                raise ValueError(f"{name} is empty; name one, or leave the key out")
        if "/" in self.model_name or ":" in self.model_name:
            raise ValueError(f"model_name is {self.model_name!r}; MLflow allows neither '/' nor ':' in it")


@dataclass(frozen=True)
class ModelVersion:
    """A registered version and the run and release it was made from, as its tags say."""

    name: str
    version: str
    run_id: str | None
    digest: str | None
    mlflow_run_id: str | None = None
    manifest_sha256: str | None = None
    """Of the release's manifest; None where an earlier version registered it."""
    files: Mapping[str, str] = field(default_factory=dict)
    """sha256 of the model's files that were made of the release, by name; none where an earlier version did."""
    embedder: str | None = None
    """Version of the model for new items that was registered with it; None: an earlier version did not say."""


@dataclass(frozen=True)
class LoggedModel:
    """A model in MLflow, and the sha256 of the files it was made of, by name."""

    id: str
    name: str
    files: Mapping[str, str] = field(default_factory=dict)
    made: bool = False
    """Whether this attempt has logged it."""


class Tracking:
    """One MLflow: the runs of an experiment and the versions of one model."""

    def __init__(
        self, uri: str, config: MlflowConfig, artifacts: Path | None, database: Path | None, *, reading: bool = False
    ) -> None:
        self._uri, self._config = uri, config
        self._artifacts = artifacts
        self._client = connect(uri, database, artifacts, reading=reading)

    @property
    def uri(self) -> str:
        """The address, with its password: for MLflow alone."""
        return self._uri

    @property
    def client(self) -> "MlflowClient":
        """MLflow's own, for `registry.disposal`."""
        return self._client

    @property
    def shown_uri(self) -> str:
        """The address without secrets, for people and files."""
        return str(without_secrets(self._uri))

    @property
    def model_name(self) -> str:
        """Name of the registered model."""
        return self._config.model_name

    @property
    def embedder_name(self) -> str:
        """Name of the registered model for new items."""
        return f"{self.model_name}-embed"

    def start_run(self, run_id: str, parent: "MlflowRun | None" = None) -> "MlflowRun":
        """Return the MLflow run of this run of ours, creating it, under `parent`, unless another attempt has."""
        experiment = self._experiment_id()
        found = self._first_run(experiment, run_id)
        if found:
            return found
        tags = {RUN_TAG: run_id} | ({PARENT_TAG: parent.info.run_id} if parent else {})
        made = self._client.create_run(experiment, tags=tags, run_name=run_id)
        first = self._first_run(experiment, run_id) or made
        if first.info.run_id != made.info.run_id:  # two attempts at once
            self._client.delete_run(made.info.run_id)
        return first

    def preferred(self, noted: str, run: "MlflowRun") -> "MlflowRun":
        """The MLflow run that was noted first for this run of ours, and `run` is deleted; `run` if that is gone."""
        first = None if noted == run.info.run_id else unless_missing(lambda: self._client.get_run(noted))
        if first is None or _place(first) != _place(run):
            return run
        self._client.delete_run(run.info.run_id)
        return first

    def _first_run(self, experiment: str, run_id: str) -> "MlflowRun | None":
        order = ["attributes.start_time", "attributes.run_id"]
        found = self._client.search_runs([experiment], f"tags.`{RUN_TAG}` = '{run_id}'", max_results=1, order_by=order)
        return found[0] if found else None

    def _experiment_id(self) -> str:
        name = self._config.experiment
        experiment = self._client.get_experiment_by_name(name)
        if experiment is None:
            place = self._artifacts.as_uri() if self._artifacts else None
            unless_exists(lambda: self._client.create_experiment(name, artifact_location=place))
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
        """Log the finite ones. The same again changes nothing, because times count from the start of the run."""
        from mlflow.entities import Metric as Logged

        start = run.info.start_time
        logged = [
            Logged(mlflow_name(metric.name), metric.value, start + round(metric.seconds * 1000), metric.step)
            for metric in metrics
            if math.isfinite(metric.value)
        ]
        self._client.log_batch(run.info.run_id, metrics=logged)

    def log_inputs(self, run: "MlflowRun", tables: Iterable[LoggedTable]) -> None:
        """Log what the run was made from; the same again changes nothing."""
        self._client.log_inputs(run.info.run_id, [table.as_input() for table in tables])

    def describe(self, run: "MlflowRun", text: str) -> None:
        """Set the description that MLflow's page of the run shows, in Markdown of at most 8,000 characters."""
        self._client.set_tag(run.info.run_id, DESCRIPTION_TAG, text)

    def log_file(self, run: "MlflowRun", file: Path, folder: str | None = None) -> None:
        """Keep a file as an artifact, under its own name."""
        self._client.log_artifact(run.info.run_id, str(file), folder)

    def log_model(
        self,
        run: "MlflowRun",
        name: str,
        code: Path,
        artifacts: Mapping[str, Path],
        signature: "ModelSignature",
        *,
        anew: bool = False,
        **options: Any,
    ) -> LoggedModel:
        """Log a model given as code and folders of files.

        The model an earlier attempt logged is kept, unless it is to be logged `anew`: its files may be gone.
        """
        import mlflow

        digests = [digests_of(folder) for folder in artifacts.values()]
        files = {code.name: file_sha256(code)} | {file: sha256 for one in digests for file, sha256 in one.items()}
        finished = self._finished_models(run, name)
        if finished and not anew:
            return LoggedModel(finished[0], name, files)
        with self._as_current(), warnings.catch_warnings(), mlflow.start_run(run_id=run.info.run_id):
            warnings.simplefilter("ignore")  # MLflow's own, about pandas and SQLAlchemy
            info = mlflow.pyfunc.log_model(
                name=name,
                python_model=str(code),
                artifacts={key: str(path) for key, path in artifacts.items()},
                signature=signature,
                **options,
            )
        return LoggedModel(str(info.model_id), name, files, made=True)

    def _finished_models(self, run: "MlflowRun", name: str) -> list[str]:
        """Ids of the models of this name that the run has logged whole."""
        from mlflow.entities import LoggedModelStatus

        logged = self._client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run.info.run_id}'")
        return [str(one.model_id) for one in logged if (one.name, one.status) == (name, LoggedModelStatus.READY)]

    @contextmanager
    def _as_current(self) -> Iterator[None]:
        """MLflow looks a logged model up by its global address: set it, and put back what was there."""
        import mlflow

        before = os.environ.get("MLFLOW_TRACKING_URI"), mlflow.get_tracking_uri(), mlflow.get_registry_uri()
        mlflow.set_tracking_uri(self._client.tracking_uri)
        mlflow.set_registry_uri(self._client.tracking_uri)
        try:
            yield
        finally:
            mlflow.set_tracking_uri(before[1])
            mlflow.set_registry_uri(before[2])
            os.environ.pop("MLFLOW_TRACKING_URI", None)
            os.environ.update({"MLFLOW_TRACKING_URI": before[0]} if before[0] else {})

    def register(
        self, run: "MlflowRun", model: LoggedModel, tags: Mapping[str, str], description: str, *, anew: bool = False
    ) -> str:
        """Return the version registered from this run, creating it of the model unless another attempt has.

        Of two attempts at once the later takes away again what it has made, version and model. A version `anew` is of
        this model, whatever the run has registered before.
        """
        unless_exists(lambda: self._client.create_registered_model(model.name))
        own, whole = [_source(model.id)], [_source(one) for one in self._finished_models(run, model.name)]
        first = self._first_version(run, model.name, own)
        if first is None and not anew:
            first = self._first_version(run, model.name, whole)
        if first is None:
            with self._as_current():
                made = self._client.create_model_version(
                    model.name,
                    source=_source(model.id),
                    run_id=run.info.run_id,
                    tags={**tags, FILES_TAG: json.dumps(model.files)},
                    description=description,
                    model_id=model.id,
                )
            first = self._first_version(run, model.name, own if anew else [*own, *whole]) or made
            if first.version != made.version:
                self._client.delete_model_version(model.name, str(made.version))
        if first.source not in own and model.made:
            unless_missing(lambda: self._client.delete_logged_model(model.id))
        return str(first.version)

    def _first_version(self, run: "MlflowRun", name: str, sources: list[str]) -> "MlflowVersion | None":
        """The oldest version registered from this run of one of these models."""
        found = self._client.search_model_versions(f"name = '{name}' AND run_id = '{run.info.run_id}'")
        return min((one for one in found if one.source in sources), key=lambda one: int(one.version), default=None)

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
        return ModelVersion(
            name=self.model_name,
            version=str(found.version),
            run_id=tags.get(RUN_TAG),
            digest=tags.get(DIGEST_TAG),
            mlflow_run_id=found.run_id,
            manifest_sha256=tags.get(MANIFEST_TAG),
            files=json.loads(tags.get(FILES_TAG, "{}")),
            embedder=tags.get(EMBEDDER_TAG),
        )

    def versions_of(self, run_id: str) -> list[ModelVersion]:
        """Versions that were registered from a run of ours, oldest first."""
        found = self._client.search_model_versions(f"name = '{self.model_name}' AND tags.`{RUN_TAG}` = '{run_id}'")
        return sorted((self._version(one) for one in found), key=lambda one: int(one.version))

    def embedder_of(self, version: ModelVersion) -> ModelVersion | None:
        """The model for new items that was registered with a version; None if it is gone, or the version names none."""
        number, name = version.embedder, self.embedder_name
        found = unless_missing(lambda: self._client.get_model_version(name, number)) if number else None
        return None if found is None else replace(self._version(found), name=name)

    @contextmanager
    def files_of(self, name: str, model: str | None = None) -> Iterator[Path]:
        """The files of a version's model (`@champion`, `/3`), as MLflow has them; what is fetched for it goes again."""
        import mlflow

        with TemporaryDirectory(prefix="microrec-") as folder, self._as_current(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # MLflow's own
            # A folder on this machine is read where it is; MLflow writes to it.
            place = None if self._artifacts and os.access(self._artifacts, os.W_OK) else folder
            yield Path(mlflow.artifacts.download_artifacts(f"models:/{model or self.model_name}{name}", dst_path=place))

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
        """Move the alias `champion`, that of the model for new items first: to the same release, or away."""
        self._set_embedder_champion(version)
        self._set_alias(self.model_name, version)

    def _set_alias(self, name: str, version: str) -> None:
        """Set the alias. MLflow raises an error if another process has made it meanwhile: then set it once more."""
        from mlflow.exceptions import MlflowException

        try:
            self._client.set_registered_model_alias(name, CHAMPION, version)
        except MlflowException:
            self._client.set_registered_model_alias(name, CHAMPION, version)

    def _set_embedder_champion(self, version: str) -> None:
        """To the version that was registered with this one; to the last of its release where that is not known."""
        found, name = self.version(version), self.embedder_name
        query = f"name = '{name}' AND tags.`{DIGEST_TAG}` = '{found.digest}'" if found else ""
        of_release = [str(one.version) for one in self._client.search_model_versions(query)] if query else []
        if found and found.embedder in of_release:
            self._set_alias(name, found.embedder)
        elif of_release:
            self._set_alias(name, max(of_release, key=int))
        else:
            unless_missing(lambda: self._client.delete_registered_model_alias(name, CHAMPION))


def _place(run: "MlflowRun") -> tuple[str, str, str | None]:
    """What is alike for MLflow runs of one run of ours, if both are there."""
    return run.info.lifecycle_stage, run.info.experiment_id, run.data.tags.get(RUN_TAG)


def _source(model_id: str) -> str:
    return f"models:/{model_id}"
