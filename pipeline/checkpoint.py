"""Checkpoints of a training: one safetensors file and one JSON file each, the JSON written last."""

import tempfile
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from upath import UPath

from model.training import TrainingState
from pipeline.errors import StoreError
from pipeline.storage import local_copy, publish_file, read_json, write_json

KEPT = 2
PARAMETERS = "parameters.safetensors"
"""The best epoch's, in the folder of stage `train`: what a finished training leaves of its checkpoints."""


def save_checkpoint(folder: UPath, state: TrainingState, history: list[dict[str, Any]]) -> None:
    """Write the state after an epoch, with the history up to it, and drop all but the latest two."""
    name = f"epoch-{state.values['epoch']:06d}"
    with tempfile.TemporaryDirectory() as scratch:
        local = Path(scratch) / "state.safetensors"
        save_file(state.tensors, local)
        publish_file(local, folder / f"{name}.safetensors")
    write_json(folder / f"{name}.json", {"values": state.values, "history": history})
    for record in _records(folder)[:-KEPT]:
        record.unlink(missing_ok=True)
        record.with_suffix(".safetensors").unlink(missing_ok=True)


def load_checkpoint(folder: UPath) -> tuple[TrainingState, list[dict[str, Any]]] | None:
    """Read the latest checkpoint, or None where there is none.

    Raises `StoreError` for one that is damaged, naming it.
    """
    records = _records(folder)
    if not records:
        return None
    document = read_json(records[-1])
    tensors = records[-1].with_suffix(".safetensors")
    try:
        with local_copy(tensors) as file:
            state = TrainingState(load_file(file), document["values"])
    except Exception as error:
        raise StoreError(
            f"checkpoint {tensors} cannot be read ({error}); delete it and its .json to resume from the one before"
        ) from error
    return state, document["history"]


def _records(folder: UPath) -> list[UPath]:
    return sorted(folder.glob("epoch-*.json"), key=lambda path: path.name) if folder.exists() else []
