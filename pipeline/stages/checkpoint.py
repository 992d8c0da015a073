"""Checkpoints of a training: one safetensors file an epoch, with values and history in its header: one write."""

import hashlib
import json

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from upath import UPath

from model.epoch import EpochReport
from model.training import TrainingState
from pipeline.errors import DamagedError, StoreError
from pipeline.stages.history import as_history, as_rows
from pipeline.storage.files import local_copy, publish_file, scratch

KEPT = 2
STATE, DIGEST = "state", "sha256"
"""Keys of the header; the digest covers state and tensors, and is not in the files of earlier versions."""
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
    words = json.dumps({"values": state.values, "history": as_rows(history)})
    header = {STATE: words, DIGEST: _digest(words, state.tensors)}
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
            raise DamagedError(
                f"checkpoint {found[-1]} is damaged ({error}); delete it to resume from the one before"
            ) from error
    raise StoreError(f"{folder}: checkpoints vanish while they are read; stop the other training of this run")


def latest_checkpoint(folder: UPath) -> UPath | None:
    """The file that `load_checkpoint` would read, None where there is none."""
    return next(reversed(_checkpoints(folder)), None)


def _read(path: UPath) -> tuple[TrainingState, list[EpochReport]]:
    with local_copy(path) as file, safe_open(file, framework="pt") as opened:
        header = opened.metadata()
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  it is no mapping
    document = json.loads(header[STATE])
    if header.get(DIGEST, digest := _digest(header[STATE], tensors)) != digest:
        raise ValueError("its digest does not fit it")
    return TrainingState(tensors, document["values"]), as_history(document["history"], path)


def _digest(words: str, tensors: dict[str, Tensor]) -> str:
    """sha256 of all that a checkpoint holds."""
    digest = hashlib.sha256(words.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _checkpoints(folder: UPath) -> list[UPath]:
    found = folder.glob("epoch-*.safetensors") if folder.exists() else []
    return sorted(found, key=lambda path: path.name)
