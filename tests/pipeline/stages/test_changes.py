import dataclasses

import pytest

from pipeline.errors import InputError
from pipeline.opening import open_run
from pipeline.stages.changes import Changes, find_changes
from pipeline.storage.files import read_json, write_json
from tests.pipeline.release_factory import make_config, make_run, quiet


@pytest.fixture
def champion(tmp_path):
    """A run whose release is the champion."""
    run = make_run(make_config(tmp_path), "r1")
    record = {"run_id": "r1", "digest": "d1", "model_name": "m", "model_version": "1", "previous": None}
    write_json(run.store.champion, record)
    return run


def with_train(run, **values):
    train = dataclasses.replace(run.config.train, **values)
    return dataclasses.replace(run.config, train=train)


def test_find_changes_same_input_finds_none_whatever_the_device(champion):
    again = make_run(with_train(champion, device="cpu"), "r2")
    assert find_changes(again) == Changes(champion="r1", digest="d1", changes=[])


def test_find_changes_names_the_value_that_changed(champion):
    again = make_run(with_train(champion, seed=7), "r2")
    assert find_changes(again).changes == ["train.seed: 0 then, 7 now"]


def test_find_changes_setting_that_the_champions_version_did_not_have_is_one(champion):
    manifest = champion.store.release("r1") / "manifest.json"
    recorded = read_json(manifest)
    del recorded["config"]["model"]["absent"]
    write_json(manifest, recorded)
    found = find_changes(make_run(champion.config, "r2")).changes
    assert found == ["model.absent: None then, 'left-out' now"]


def test_find_changes_without_champion_or_its_release_says_so(champion):
    (champion.store.release("r1") / "_SUCCESS").unlink()
    assert find_changes(champion).changes == ["there is no champion to compare with"]
    champion.store.champion.unlink()
    assert find_changes(champion).changes == ["there is no champion to compare with"]


def test_find_changes_before_prepare_says_what_to_run(champion):
    with pytest.raises(InputError, match="microrec prepare --run-id r3"):
        find_changes(open_run(champion.config, "r3", quiet()))
