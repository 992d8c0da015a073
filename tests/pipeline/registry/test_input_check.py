"""The checks beside a store: which champion they compare with, and what its manifest tells."""

import dataclasses
import json
import shutil

import pytest

from pipeline.config.config import compose
from pipeline.dataset.records import EncoderRecord, InputCounts
from pipeline.documents import as_document
from pipeline.registry.champion import Champion
from pipeline.registry.checks import ChecksConfig
from pipeline.registry.input_check import ask_checks
from pipeline.release.manifest import MANIFEST, read_manifest
from pipeline.storage.files import local_path, write_json
from tests.pipeline.release_factory import make_config, make_run

NOW = InputCounts(items=100, users=50, interactions=1000, dropped=0.0, usable={"text": 90}, item_values={"title": 90})


def crowned(folder, **changes):
    """A store whose champion's manifest has the fields given."""
    run = make_run(make_config(folder, database=False), "r1")
    release = run.store.release("r1")
    manifest = dataclasses.replace(read_manifest(release), **changes)
    manifest.write(release)
    digest = manifest.release_digest
    champion = Champion(run_id="r1", digest=digest, model_name="microrec", model_version="1", previous=None)
    write_json(run.store.champion, as_document(champion))
    return run.store


def verdicts(checks):
    return {row.name: row.verdict for row in checks.rows}


def test_ask_checks_champion_that_recorded_its_input_is_compared_row_by_row(tmp_path):
    store = crowned(tmp_path, input=NOW)
    same = ask_checks(store, ChecksConfig(), NOW)
    assert (same.verdict, same.champion, same.reasons, same.note) == ("ok", "r1", [], "")
    half = ask_checks(store, ChecksConfig(), dataclasses.replace(NOW, items=50, usable={"text": 45}))
    assert half.verdict == "refused"
    assert half.reasons == ["items: 100 then, 50 now (allowed: at least 90)"]


def test_ask_checks_settings_of_today_decide(tmp_path):
    store, half = crowned(tmp_path, input=NOW), dataclasses.replace(NOW, items=50, usable={"text": 45})
    assert ask_checks(store, ChecksConfig(max_fall=0.5), half).verdict == "ok"
    assert ask_checks(store, ChecksConfig(enabled=False), half).verdict == "off"


def test_ask_checks_accepted_change_says_what_was_accepted(tmp_path):
    half = dataclasses.replace(NOW, items=50, usable={"text": 45})
    checks = ask_checks(crowned(tmp_path, input=NOW), ChecksConfig(), half, accept_change=True)
    assert checks.verdict == "accepted"
    assert checks.reasons == ["items: 100 then, 50 now (allowed: at least 90)"]


def test_ask_checks_floor_holds_where_the_change_is_accepted(tmp_path):
    checks = ask_checks(crowned(tmp_path, input=NOW), ChecksConfig(min_items=101), NOW, accept_change=True)
    assert (checks.verdict, verdicts(checks)["items, floor"]) == ("refused", "refused")


def test_ask_checks_manifest_of_an_earlier_version_gives_its_counts(tmp_path):
    encoder = EncoderRecord(key="precomputed", revision="", dim=2, digest="")
    counts = {"items": 200, "users": 50, "interactions": 1000, "items_with_text": 180, "items_with_interactions": 7}
    store = crowned(tmp_path, counts=counts, encoders={"text": encoder})
    path = local_path(store.release("r1")) / MANIFEST
    document = json.loads(path.read_text())
    del document["input"], document["seal"]
    path.write_text(json.dumps(document))
    checks = ask_checks(store, ChecksConfig(), NOW)
    assert verdicts(checks) == {
        "items": "refused",
        "users": "ok",
        "interactions": "ok",
        "text, usable": "ok",
        "interactions dropped": "not compared",
        "items, title": "not compared",
    }


def test_ask_checks_earlier_champion_trained_on_all_users_lets_a_trial_pass(tmp_path):
    store = crowned(tmp_path, counts={"items": 100, "users": 50, "interactions": 1000})
    trial = dataclasses.replace(NOW, users=5, interactions=100, user_share=0.1)
    assert ask_checks(store, ChecksConfig(), trial).verdict == "ok"


def test_ask_checks_champion_whose_release_is_gone_checks_floors_only(tmp_path):
    store = crowned(tmp_path, input=NOW)
    shutil.rmtree(local_path(store.release("r1")))
    checks = ask_checks(store, ChecksConfig(min_items=1), dataclasses.replace(NOW, items=1))
    assert (checks.verdict, list(verdicts(checks)), checks.champion) == ("ok", ["items, floor"], None)
    assert checks.note == "the champion's release r1 is gone, so only floors are checked"


@pytest.mark.parametrize(("floor", "verdict"), [(100, "ok"), (101, "refused")])
def test_ask_checks_first_night_is_held_to_the_floors(tmp_path, floor, verdict):
    store = make_config(tmp_path, database=False).open_store()
    checks = ask_checks(store, ChecksConfig(min_items=floor), NOW)
    assert (checks.verdict, checks.note) == (verdict, "there is no champion to compare with")


def test_manifest_input_written_and_read_back_is_equal(tmp_path):
    counts = dataclasses.replace(NOW, interaction_values={"rating": 5}, last_timestamp="2026-11-28T10:00:00+00:00")
    for last in (counts.last_timestamp, 1_700_000_000, 0.5, None):
        store = crowned(tmp_path / str(last), input=dataclasses.replace(counts, last_timestamp=last))
        found = read_manifest(store.release("r1")).input
        assert found == dataclasses.replace(counts, last_timestamp=last)
        assert type(found.last_timestamp) is type(last)


def test_config_recorded_before_there_were_checks_has_their_defaults(tmp_path):
    document = make_config(tmp_path, database=False).as_dict()
    del document["checks"]
    assert compose(document, base=tmp_path).checks == ChecksConfig()
