"""Checkpoints of a training: one safetensors file an epoch, with values and history in its header: one write."""

import json

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from upath import UPath

from model.epoch import EpochReport
from model.training import TrainingState
from pipeline.errors import StoreError
from pipeline.stages.history import as_history, as_rows
from pipeline.storage.files import local_copy, publish_file, scratch

KEPT = 2
STATE = "state"
TRIES = 3
VECTORS = "vectors.safetensors"
"""Of the best epoch, in the folder of stage `train`: what is evaluated and exported."""
PARAMETERS = "parameters.safetensors"
"""Beside them: what a finished training leaves of its checkpoints."""
CONTENT_MAP = "content_map.safetensors"
"""Beside them: from content to vectors of items without interactions (`model.inductive.new_item_maps`)."""


def save_checkpoint(folder: UPath, state: TrainingState, history: list[EpochReport]) -> None:
    """Write the state after an epoch, with the history up to it, and drop all but the latest two."""
    target = folder / f"epoch-{state.values['epoch']:06d}.safetensors"
    header = {STATE: json.dumps({"values": state.values, "history": as_rows(history)})}
    with scratch(target) as beside:
        save_file(state.tensors, beside / target.name, metadata=header)
        publish_file(beside / target.name, target)
    for outdated in _checkpoints(folder)[:-KEPT]:
        outdated.unlink(missing_ok=True)


def load_checkpoint(folder: UPath) -> tuple[TrainingState, list[EpochReport]] | None:
    """Read the latest checkpoint, or None where there is none.

    Raises `StoreError` for one that is damaged, naming it; what only hinders the reading is raised as it is.
    """
    for _ in range(TRIES):
        found = _checkpoints(folder)
        if not found:
            return None
        try:
            return _read(found[-1])
        except FileNotFoundError:  # an orphaned attempt has gone on and dropped it
            continue
        except (SafetensorError, LookupError, TypeError, ValueError) as error:
            raise StoreError(
                f"checkpoint {found[-1]} is damaged ({error}); delete it to resume from the one before"
            ) from error
    raise StoreError(f"{folder}: checkpoints vanish while they are read; stop the other training of this run")


def _read(path: UPath) -> tuple[TrainingState, list[EpochReport]]:
    with local_copy(path) as file, safe_open(file, framework="pt") as opened:
        document = json.loads(opened.metadata()[STATE])
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  it is no mapping
    return TrainingState(tensors, document["values"]), as_history(document["history"], path)


def _checkpoints(folder: UPath) -> list[UPath]:
    found = folder.glob("epoch-*.safetensors") if folder.exists() else []
    return sorted(found, key=lambda path: path.name)
