"""What is new since the champion: a night on unchanged input need not train."""

from typing import Any

from pipeline.errors import InputError
from pipeline.promotion import read_champion
from pipeline.release import read_manifest
from pipeline.run import Run, differences
from pipeline.storage import is_complete

SECTIONS = ("catalogue", "split", "modalities", "model", "train")
"""Sections of the configuration that the vectors depend on."""


def find_changes(run: Run) -> dict[str, Any]:
    """Compare what a prepared run would be trained on with what the champion was trained on.

    Tables are compared by the sha256 of their files, contents (pictures, texts, vectors) by that of what stands in
    them, the configuration by value, but for the devices; a setting that the champion's version did not have is a
    difference, for it may have done something else then. Returns the champion's run and digest and, a line each,
    the differences: none means that training would repeat the champion.

    Raises `InputError` before stage `prepare`.
    """
    prepared = run.result("prepare")
    if prepared is None:
        raise InputError(f"run {run.id} has not been prepared; run `microrec prepare --run-id {run.id}` first")
    champion = read_champion(run.store)
    release = run.store.release(champion["run_id"]) if champion else None
    if champion is None or release is None or not is_complete(release):
        return {"champion": None, "digest": None, "changes": ["there is no champion to compare with"]}
    manifest = read_manifest(release)
    before = _ingredients(manifest["input_digests"], manifest["encoders"], manifest["config"])
    now = _ingredients(prepared["input_digests"], prepared["encoders"], run.config.as_dict())
    return {"champion": champion["run_id"], "digest": champion["digest"], "changes": sorted(differences(before, now))}


def _ingredients(inputs: dict[str, Any], encoders: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    sections = {name: _without_devices(config.get(name)) for name in SECTIONS}
    return {"inputs": inputs, "contents": encoders, **sections}


def _without_devices(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {key: _without_devices(inner) for key, inner in value.items() if key not in ("device", "processes")}
