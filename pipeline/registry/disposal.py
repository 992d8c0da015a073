"""Registered versions, the room that their models take, and how they go with their artifacts."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from pipeline.registry.connection import unless_missing
from pipeline.registry.tracking import DIGEST_TAG, RUN_TAG, Tracking
from pipeline.release.format import REPORT

if TYPE_CHECKING:
    from mlflow.store.artifact.artifact_repo import ArtifactRepository


@dataclass(frozen=True, kw_only=True)
class Registered:
    """A version of the ranker or of the model for new items."""

    model_name: str
    version: str
    run_id: str | None
    """Of ours, as its tags say."""
    digest: str | None
    model_id: str | None
    """Of the logged model that it names."""
    mlflow_run_id: str | None


def aliases(tracking: Tracking) -> dict[tuple[str, str], str]:
    """Model name and version to the alias that names it, set by any program."""
    return {
        (name, str(version)): alias
        for name in (tracking.model_name, tracking.embedder_name)
        if (model := unless_missing(partial(tracking.client.get_registered_model, name)))
        for alias, version in model.aliases.items()
    }


def registered_versions(tracking: Tracking) -> list[Registered]:
    """All versions of both models."""
    return [*_versions(tracking, tracking.model_name), *_versions(tracking, tracking.embedder_name)]


def _versions(tracking: Tracking, name: str) -> list[Registered]:
    found: list[Registered] = []
    token = None
    while True:
        page = tracking.client.search_model_versions(f"name = '{name}'", page_token=token)
        found += [
            Registered(
                model_name=name,
                version=str(one.version),
                run_id=one.tags.get(RUN_TAG),
                digest=one.tags.get(DIGEST_TAG),
                model_id=one.model_id or _logged_in(one.source),
                mlflow_run_id=one.run_id or None,
            )
            for one in page
        ]
        token = page.token
        if not token:
            return found


def artifact_bytes(tracking: Tracking, version: Registered) -> int:
    """Room that the version's model takes, and the report beside it; 0 where the files are gone."""
    model, run = _model_files(tracking, version), _run_files(tracking, version)
    counts_here = run is not None and version.model_name == tracking.model_name  # both models have one run
    reports = [one.file_size or 0 for one in run.list_artifacts() if one.path == REPORT] if run and counts_here else []
    return sum(reports) + (sum(_sizes(model, None)) if model else 0)


def remove_version(tracking: Tracking, version: Registered) -> None:
    """Remove the model's files, the logged model and then the version: what is cut short is found again by its version.

    The MLflow run stays, with its settings, metrics and curves, but for the report.
    """
    model, run = _model_files(tracking, version), _run_files(tracking, version)
    if run is not None:
        run.delete_artifacts(REPORT)  # type: ignore[no-untyped-call]
    if model is not None:
        model.delete_artifacts()  # type: ignore[no-untyped-call]
        unless_missing(lambda: tracking.client.delete_logged_model(version.model_id or ""))
    unless_missing(lambda: tracking.client.delete_model_version(version.model_name, version.version))


def _logged_in(source: str | None) -> str | None:
    scheme, found, model_id = (source or "").partition("models:/")
    return model_id if found and not scheme else None


def _model_files(tracking: Tracking, version: Registered) -> "ArtifactRepository | None":
    """Where the model's files lie; None where MLflow has no such model any more."""
    model_id = version.model_id
    model = model_id and unless_missing(lambda: tracking.client.get_logged_model(model_id))
    return _repository(tracking, model.artifact_location) if model else None


def _run_files(tracking: Tracking, version: Registered) -> "ArtifactRepository | None":
    """The same of the MLflow run that the version was registered from."""
    run_id = version.mlflow_run_id
    run = run_id and unless_missing(lambda: tracking.client.get_run(run_id))
    return _repository(tracking, run.info.artifact_uri) if run else None


def _repository(tracking: Tracking, location: str) -> "ArtifactRepository":
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    return get_artifact_repository(location, tracking_uri=tracking.uri)


def _sizes(repository: Any, folder: str | None) -> Iterator[int]:
    for entry in repository.list_artifacts(folder):
        if entry.is_dir:
            yield from _sizes(repository, entry.path)
        else:
            yield entry.file_size or 0
