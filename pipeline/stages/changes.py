"""What is new since the champion. A night on unchanged input need not train."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline import stages
from pipeline.config.recorded import differences
from pipeline.dataset.records import EncoderRecord
from pipeline.documents import as_document
from pipeline.registry.champion import champion_manifest, read_champion
from pipeline.run import Run
from pipeline.storage.files import is_complete

SECTIONS = ("catalogue", "split", "modalities", "model", "train")
"""Sections of the configuration that the vectors depend on."""

_NO_MATTER = ("device", "processes", "trust")
"""Settings that change no content and no training."""


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What a run would be trained on and the champion was not."""

    champion: str | None
    """Its run; None where there is none to compare with."""
    digest: str | None
    """Its release's."""
    changes: list[str]
    """A line each; none: training would repeat the champion."""


def find_changes(run: Run) -> Changes:
    """Compare what a prepared run would be trained on with what the champion was trained on.

    Tables are compared by the sha256 of their files, contents (pictures, texts, vectors) by that of what stands in
    them, the configuration by value, but for what changes no vector; a setting that the champion's version did not have
    is a difference, because that version may have done something else.

    Raises `InputError` before stage `prepare`.
    """
    prepared = run.require(stages.PREPARE)
    champion = read_champion(run.store)
    release = run.store.release(champion.run_id) if champion else None
    if champion is None or release is None or not is_complete(release):
        return Changes(champion=None, digest=None, changes=["there is no champion to compare with"])
    manifest = champion_manifest(run.store, champion)
    before = _ingredients(manifest.input_digests, manifest.encoders, manifest.config)
    now = _ingredients(prepared.input_digests, prepared.encoders, run.config.as_dict())
    return Changes(champion=champion.run_id, digest=champion.digest, changes=sorted(differences(before, now)))


def _ingredients(
    inputs: dict[str, str], encoders: Mapping[str, EncoderRecord], config: dict[str, Any]
) -> dict[str, Any]:
    sections = {name: _what_matters(config.get(name)) for name in SECTIONS}
    contents = {name: as_document(encoder) for name, encoder in encoders.items()}
    return {"inputs": inputs, "contents": contents, **sections}


def _what_matters(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {key: _what_matters(inner) for key, inner in value.items() if key not in _NO_MATTER}
