"""`manifest.json`: what a release holds, and what it was made from (docs/reference/formats.md)."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from upath import UPath

from pipeline.dataset.records import EncoderRecord, Evaluation, InputCounts, Training
from pipeline.documents import as_document, as_record
from pipeline.errors import DamagedError, StoreError
from pipeline.release.fold_in import FoldIn
from pipeline.release.format import TABLES_OF
from pipeline.release.space import DriftRow, IndexRecord, Space
from pipeline.storage.files import file_sha256, is_complete, parse_json, read_bytes, write_json

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

    @classmethod
    def of(cls, path: Path, folder: Path) -> "FileEntry":
        """A file as it stands in a local folder."""
        rows = pq.read_metadata(path).num_rows if path.suffix == ".parquet" else None
        name = path.relative_to(folder).as_posix()
        return cls(path=name, sha256=file_sha256(path), bytes=path.stat().st_size, rows=rows)


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Everything that a release says of itself."""

    schema_version: int
    release_digest: str
    run_id: str
    created: str = ""
    """ISO 8601."""
    microrec_version: str = ""
    """Of the program that made it; empty where an earlier version did not say."""
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
    index: IndexRecord | None = None
    """What `index.faiss` is; None where an earlier version wrote it: exact."""
    files: list[FileEntry] = field(default_factory=list)

    def write(self, folder: UPath) -> None:
        """Write it as `manifest.json`; only Parquet files have a number of rows."""
        document = as_document(self)
        files = [{key: value for key, value in entry.items() if value is not None} for entry in document["files"]]
        write_json(folder / MANIFEST, {**document, "files": files})


def read_manifest(release: UPath, sha256: str | None = None) -> Manifest:
    """Manifest of a complete release.

    Args:
        sha256: of the file, as recorded by what refers to the release; None: an earlier version did not record it.

    Raises `StoreError` where the release does not exist, i.e. has no `_SUCCESS`, or the manifest is damaged.
    """
    if not is_complete(release):
        raise StoreError(f"there is no release at {release} (no _SUCCESS); see `microrec run`")
    return manifest_of(release, sha256)


def mend_of(release: UPath) -> str:
    """How to get a sound release."""
    return (
        f"restore the release from a copy, or delete {release} and export it again "
        f"(`microrec run --run-id {release.name}`)"
    )


def manifest_sha256(release: UPath) -> str:
    """sha256 of the manifest's bytes, which the registry and `champion.json` record."""
    return hashlib.sha256(read_bytes(release / MANIFEST)).hexdigest()


def manifest_of(folder: UPath, sha256: str | None = None) -> Manifest:
    """Manifest of a release folder, published or about to be; `sha256` as `read_manifest` has it.

    Raises `StoreError` where it is missing, damaged, altered, or of another version of the format.
    """
    try:
        payload = read_bytes(folder / MANIFEST)
    except FileNotFoundError as error:
        raise DamagedError(f"release {folder}: {MANIFEST} is missing; {mend_of(folder)}") from error
    document = parse_json(folder / MANIFEST, payload, mend_of(folder))
    if sha256 and hashlib.sha256(payload).hexdigest() != sha256:
        raise DamagedError(
            f"{folder / MANIFEST} is not the one that was registered: its sha256 is not {sha256}; restore it from a "
            f"copy, or if it was exported anew: `microrec register --again --release {folder.name}`"
        )
    version = document.get("schema_version") if isinstance(document, dict) else None
    if version not in list(TABLES_OF):
        readable = " and ".join(map(str, TABLES_OF))
        raise StoreError(f"release {folder} has schema version {version!r}, this program reads {readable}")
    return as_record(Manifest, document, folder / MANIFEST)
