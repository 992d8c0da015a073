"""`manifest.json`: what a release holds, and what it was made from (docs/formats.md)."""

from dataclasses import dataclass, field
from typing import Any

from upath import UPath

from pipeline.dataset.records import EncoderRecord, Evaluation, InputCounts, Training
from pipeline.documents import as_document, as_record
from pipeline.errors import StoreError
from pipeline.release.fold_in import FoldIn
from pipeline.release.format import TABLES_OF
from pipeline.release.space import DriftRow, Space
from pipeline.storage.files import is_complete, read_json, write_json

MANIFEST = "manifest.json"


@dataclass(frozen=True, kw_only=True)
class FileEntry:
    """One file of a release."""

    path: str
    """Relative to the release."""
    sha256: str
    bytes: int
    rows: int | None = None
    """Of a Parquet file."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Everything that a release says of itself."""

    schema_version: int
    release_digest: str
    run_id: str
    created: str = ""
    """ISO 8601."""
    embedding_dim: int
    counts: dict[str, int]
    config: dict[str, Any]
    """The resolved configuration, as JSON."""
    input_digests: dict[str, str]
    input: InputCounts | None = None
    """None where an earlier version wrote it, or stage `validate` was left out."""
    encoders: dict[str, EncoderRecord]
    training: Training | None = None
    metrics: Evaluation
    space: Space | None = None
    """None where an earlier version wrote it."""
    delta: dict[str, dict[str, int]] = field(default_factory=dict)
    """Ids of `items` and `users` by what became of them since `space.champion`; empty for a first release."""
    drift: dict[str, DriftRow] = field(default_factory=dict)
    """How far the vectors moved, by slice; empty for a first release."""
    fold_in: FoldIn | None = None
    """How a user who is not in the release gets a vector; None of schema version 1."""
    files: list[FileEntry] = field(default_factory=list)

    def write(self, folder: UPath) -> None:
        """Write it as `manifest.json`; only Parquet files have a number of rows."""
        document = as_document(self)
        files = [{key: value for key, value in entry.items() if value is not None} for entry in document["files"]]
        write_json(folder / MANIFEST, {**document, "files": files})


def read_manifest(release: UPath) -> Manifest:
    """Manifest of a complete release.

    Raises `StoreError` where the release does not exist, i.e. has no `_SUCCESS`, or the manifest is damaged.
    """
    if not is_complete(release):
        raise StoreError(f"there is no release at {release} (no _SUCCESS); see `microrec run`")
    return manifest_of(release)


def manifest_of(folder: UPath) -> Manifest:
    """Manifest of a release folder, published or about to be.

    Raises `StoreError` where it is missing, damaged, or of another version of the format.
    """
    try:
        document = read_json(folder / MANIFEST)
    except FileNotFoundError as error:
        raise StoreError(f"release {folder}: {MANIFEST} is missing; delete the release and export again") from error
    version = document.get("schema_version") if isinstance(document, dict) else None
    if version not in list(TABLES_OF):
        readable = " and ".join(map(str, TABLES_OF))
        raise StoreError(f"release {folder} has schema version {version!r}, this program reads {readable}")
    return as_record(Manifest, document, folder / MANIFEST)
