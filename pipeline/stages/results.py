"""The stages and what each of them returns: one frozen dataclass a stage, which `pipeline.run` writes and reads."""

from dataclasses import dataclass, field, replace
from typing import Any, Self

from pipeline.catalogue.pin import Pin
from pipeline.dataset.records import EncoderRecord, Evaluation, Training
from pipeline.registry.connection import SQLITE
from pipeline.release.space import DriftRow
from pipeline.run import Run, Stage, StageResult
from pipeline.stages.validation_report import ValidationReport
from pipeline.storage.files import is_complete
from pipeline.storage.layout import Store

ROOT = "{store.root}"


@dataclass(frozen=True, kw_only=True)
class ValidateResult(StageResult):
    """Of stage `validate`."""

    report: ValidationReport
    input: Pin = field(default_factory=Pin)
    """What the run stands on; no files: an earlier version kept no record."""


@dataclass(frozen=True, kw_only=True)
class Extraction:
    """What became of the contents of one modality, in one shard or all."""

    encoder: str
    """Its key, or `precomputed`."""
    items: int
    with_vector: int | None = None
    """Items that have one; of precomputed vectors only."""
    contents: int = 0
    """Distinct ones, of all shards; of pictures that other shards have yet to read, each place counts."""
    encoded: int = 0
    """In this shard."""
    cached: int = 0
    """Contents that had been encoded before."""
    missing: int = 0
    """Items that name no content."""
    not_found: int = 0
    """Items that name a picture that is not there."""
    unreadable: int = 0
    unreadable_items: list[Any] = field(default_factory=list)
    """Ids of the first of them."""
    long: int | None = None
    """Of the texts encoded in this call, those longer than the encoder reads; None where that is not known."""
    encoder_calls: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class ExtractResult(StageResult):
    """Of stage `extract`, or of one of its shards."""

    modalities: dict[str, Extraction]


@dataclass(frozen=True, kw_only=True)
class PrepareResult(StageResult):
    """Of stage `prepare`."""

    counts: dict[str, int]
    input_digests: dict[str, str]
    """Location of an input file, relative to the configuration's folder, to its sha256."""
    encoders: dict[str, EncoderRecord]
    """By modality."""
    feature_parts: dict[str, list[str]] | None = None
    """Parts of the feature store that the items' contents stand in, by modality; None: an earlier version's."""
    split_follows: str | None = None
    """Run whose training interactions were not held out; None for none."""


@dataclass(frozen=True, kw_only=True)
class TrainResult(Training, StageResult):
    """Of stage `train`."""

    predicted_peak_memory_bytes: int = 0
    graph_recall: dict[str, dict[str, float]] = field(default_factory=dict)
    """Of approximate graphs, by modality; nothing where all are exact."""
    seconds_per_epoch: float = 0.0


@dataclass(frozen=True, kw_only=True)
class EvaluateResult(StageResult):
    """Of stage `evaluate`."""

    metrics: Evaluation


@dataclass(frozen=True, kw_only=True)
class ExportResult(StageResult):
    """Of stage `export`."""

    release: str
    """Its folder; relative to the store in the store's files, absolute in those of earlier versions."""
    digest: str
    counts: dict[str, int]
    """Rows by table."""
    manifest_sha256: str | None = None
    """Of the release's manifest; None where an earlier version wrote it."""
    drift: dict[str, DriftRow] = field(default_factory=dict)
    """How far the vectors moved from the champion's, as the manifest has it."""

    def stands(self, run: Run) -> bool:
        return is_complete(run.store.release(self._name))

    def kept_in(self, store: Store) -> Self:
        return replace(self, release=store.inside(store.release(self._name)))

    def found_in(self, store: Store) -> Self:
        return replace(self, release=str(store.release(self._name)))

    @property
    def _name(self) -> str:
        return self.release.rpartition("/")[2]


@dataclass(frozen=True, kw_only=True)
class RegisterResult(StageResult):
    """Of stage `register`."""

    run_id: str
    """MLflow's."""
    model_name: str
    model_version: str
    tracking_uri: str
    """Without a password; in the store's files with `{store.root}` where the database is in the store."""
    manifest_sha256: str | None = None
    """Of the release's manifest; None where an earlier version registered it."""

    def stands(self, run: Run) -> bool:
        exported = run.result(EXPORT)
        recorded = {exported.manifest_sha256 if exported else None, self.manifest_sha256}
        return len(recorded - {None}) < 2  # earlier versions recorded none

    def kept_in(self, store: Store) -> Self:
        return replace(self, tracking_uri=self.tracking_uri.replace(f"{SQLITE}{store.root}/", f"{SQLITE}{ROOT}/"))

    def found_in(self, store: Store) -> Self:
        return replace(self, tracking_uri=self.tracking_uri.replace(ROOT, str(store.root)))


VALIDATE = Stage("validate", ValidateResult)
EXTRACT = Stage("extract", ExtractResult)
PREPARE = Stage("prepare", PrepareResult)
TRAIN = Stage("train", TrainResult)
EVALUATE = Stage("evaluate", EvaluateResult)
EXPORT = Stage("export", ExportResult)
REGISTER = Stage("register", RegisterResult)
