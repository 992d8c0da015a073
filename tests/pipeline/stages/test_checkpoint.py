import errno

import pytest
import torch
from upath import UPath

from model.epoch import EpochReport
from model.training import TrainingState
from pipeline.errors import DamagedError, StoreError
from pipeline.stages import checkpoint
from pipeline.stages.checkpoint import load_checkpoint, save_checkpoint


def report(epoch, validation=None):
    return EpochReport(
        epoch=epoch,
        loss=1 / epoch,
        ranking=0.5,
        contrastive=9.0,
        learning_rate=0.01,
        seconds=0.25,
        validation=validation,
        is_best=validation is not None,
    )


def save(folder, epoch, validation=None):
    history = [report(number, validation) for number in range(1, epoch + 1)]
    state = TrainingState({"weight": torch.full((3,), float(epoch))}, {"epoch": epoch, "best_metric": None})
    save_checkpoint(folder, state, history)
    return state, history


@pytest.fixture
def folder(tmp_path):
    return UPath(str(tmp_path / "checkpoints"))


def test_load_checkpoint_gives_back_what_was_saved(folder):
    state, history = save(folder, 2, {"recall@20": 0.1, "users": 7.0})
    loaded, read = load_checkpoint(folder)
    assert torch.equal(loaded.tensors["weight"], state.tensors["weight"])
    assert (loaded.values, read) == (state.values, history)


def test_save_checkpoint_keeps_the_latest_two(folder):
    for epoch in (1, 2, 3):
        save(folder, epoch)
    assert sorted(path.name for path in folder.iterdir() if not path.name.startswith(".")) == [
        "epoch-000002.safetensors",
        "epoch-000003.safetensors",
    ]
    assert load_checkpoint(folder)[0].values["epoch"] == 3


def test_load_checkpoint_without_one_is_none(folder):
    assert load_checkpoint(folder) is None


@pytest.mark.parametrize("damage", [lambda payload: payload[:40], lambda payload: b"", lambda payload: b"\0" * 200])
def test_load_checkpoint_damaged_is_named_with_the_mend(folder, damage):
    save(folder, 1)
    file = folder / "epoch-000001.safetensors"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(StoreError, match=r"epoch-000001\.safetensors is damaged.*delete it to resume from the one"):
        load_checkpoint(folder)


@pytest.mark.parametrize("place", [-1, -5, -11])
def test_load_checkpoint_flipped_bit_of_a_tensor_is_damage(folder, place):
    """The file is a whole one, of other values."""
    save(folder, 1)
    file = folder / "epoch-000001.safetensors"
    payload = bytearray(file.read_bytes())
    payload[place] ^= 1
    file.write_bytes(bytes(payload))
    with pytest.raises(DamagedError, match=r"epoch-000001\.safetensors is damaged \(its digest does not fit it\)"):
        load_checkpoint(folder)


def test_load_checkpoint_of_an_earlier_version_has_no_digest(folder, monkeypatch):
    monkeypatch.setattr(checkpoint, "DIGEST", "another")
    save(folder, 1)
    monkeypatch.undo()
    assert load_checkpoint(folder)[0].values["epoch"] == 1


def test_load_checkpoint_passing_fault_of_the_store_advises_deleting_nothing(folder, monkeypatch):
    save(folder, 1)

    def failing(path):
        raise OSError(errno.EIO, "the store does not answer")

    monkeypatch.setattr(checkpoint, "local_copy", failing)
    with pytest.raises(OSError, match="the store does not answer"):
        load_checkpoint(folder)


def test_load_checkpoint_dropped_meanwhile_takes_the_next(folder, monkeypatch):
    """An orphaned attempt goes on beside this one, and drops the file between listing and reading."""
    save(folder, 1)
    read, calls = checkpoint._read, []

    def overtaken(path):
        calls.append(path)
        if len(calls) == 1:
            path.unlink()
            save(folder, 2)
        return read(path)

    monkeypatch.setattr(checkpoint, "_read", overtaken)
    assert load_checkpoint(folder)[0].values["epoch"] == 2
