"""The champion's life: which one stands and why, its history, hold and free; no registry is needed for it."""

import json
from datetime import UTC, datetime

import pytest
from upath import UPath

from pipeline.documents import as_document
from pipeline.errors import InputError
from pipeline.registry import standing
from pipeline.registry.champion import KEPT_EVENTS, Champion, read_champion
from pipeline.registry.standing import free, hold, read_history, show_champion
from pipeline.storage.files import read_json, swap_bytes, write_json
from pipeline.storage.layout import Store
from tests.pipeline.registry.test_promotion import add_version, alias, champion, promote, rollback
from tests.pipeline.release_factory import NUM_USERS, make_config, quiet

OLDEST = {"run_id": "r1", "digest": "d1", "model_name": "microrec", "model_version": "1", "previous": None}
"""What the first version wrote."""


@pytest.fixture
def store(tmp_path):
    store = Store(UPath(str(tmp_path)))
    write_json(store.champion, OLDEST)
    return store


@pytest.fixture
def config(tmp_path):
    return make_config(tmp_path)


def test_show_champion_of_an_earlier_version_has_no_hold_and_no_reason(store):
    shown = show_champion(store)
    assert (shown.run_id, shown.held, shown.reason, shown.previous) == ("r1", None, None, None)
    assert read_history(store).events == ()


def test_hold_keeps_the_champion_and_its_reason_until_free(store):
    held = hold(store, "sale week", quiet())
    assert (held.changed, held.run_id, held.held.reason) == (True, "r1", "sale week")
    assert datetime.fromisoformat(held.held.since) <= datetime.now(UTC)
    assert show_champion(store).held == held.held
    assert free(store, quiet()).held is None
    assert show_champion(store).held is None
    assert [(event.action, event.reason) for event in read_history(store).events] == [
        ("freed", None),
        ("held", "sale week"),
    ]


def test_free_of_one_that_is_not_held_changes_nothing(store):
    before = store.champion.read_bytes()
    assert not free(store, quiet()).changed
    assert store.champion.read_bytes() == before


def test_hold_without_a_reason_is_refused(store):
    with pytest.raises(InputError, match="say why"):
        hold(store, " ", quiet())


@pytest.mark.parametrize(
    "command", [show_champion, lambda store: hold(store, "x", quiet()), lambda store: free(store, quiet())]
)
def test_standing_without_a_champion_says_so(tmp_path, command):
    with pytest.raises(InputError, match="there is no champion"):
        command(Store(UPath(str(tmp_path))))


def test_read_history_without_a_champion_is_empty(tmp_path):
    assert read_history(Store(UPath(str(tmp_path)))).events == ()


def test_hold_overtaken_by_another_change_holds_the_new_champion(store, monkeypatch):
    def overtaken(*arguments):
        monkeypatch.setattr(standing, "swap_bytes", swap_bytes)
        write_json(store.champion, {**OLDEST, "run_id": "r2"})
        return swap_bytes(*arguments)

    monkeypatch.setattr(standing, "swap_bytes", overtaken)
    assert hold(store, "x", quiet()).run_id == "r2"


def test_after_many_events_the_history_is_bounded_and_newest_first():
    record = Champion(**OLDEST)
    for number in range(KEPT_EVENTS + 3):
        record = record.after(record, "held", str(number))
    assert [event.reason for event in record.history] == [str(n) for n in range(KEPT_EVENTS + 2, 2, -1)]


def test_rollback_holds_what_it_restores_so_that_the_next_night_does_not_replace_it(config):
    for run_id in ("r1", "r2"):
        promote(config, add_version(config, run_id), quiet())
    back = rollback(config, quiet(), "half a catalogue")
    assert (back.changed, back.run_id, back.reason, back.held.reason) == (True, "r1", *["half a catalogue"] * 2)
    before = champion(config)
    night = promote(config, add_version(config, "r3", recall=0.9), quiet())
    assert (night.changed, night.run_id, night.held.reason) == (False, "r1", "half a catalogue")
    assert (champion(config), alias(config)) == (before, "1")
    free(config.open_store(), quiet())
    assert promote(config, "3", quiet()).run_id == "r3"
    assert [event.action for event in read_history(config.open_store()).events] == [
        "promoted",
        "freed",
        "rolled_back",
        "promoted",
        "promoted",
    ]


def test_rollback_without_a_reason_says_from_which_it_went_back(config):
    for run_id in ("r1", "r2"):
        promote(config, add_version(config, run_id), quiet())
    assert rollback(config, quiet()).held.reason == "rolled back from r2"


def test_promote_force_passes_hold_and_gate_and_the_hold_stays(config):
    promote(config, add_version(config, "r1", recall=0.2), quiet())
    hold(config.open_store(), "sale week", quiet())
    forced = promote(config, add_version(config, "r2", recall=0.01), quiet(), force=True, reason="approved")
    assert (forced.changed, forced.run_id, forced.reason, forced.held.reason) == (True, "r2", "approved", "sale week")
    assert (forced.counts["user_vectors"], forced.metrics.validation["recall@20"]) == (NUM_USERS, 0.01)
    assert read_history(config.open_store()).events[0].action == "forced"
    assert champion(config)["previous"]["held"] is None


def test_promote_force_for_an_earlier_moment_leaves_the_champion_of_a_later_one(config):
    monday, tuesday = datetime(2026, 11, 23, tzinfo=UTC), datetime(2026, 11, 24, tzinfo=UTC)
    promote(config, add_version(config, "tuesday"), quiet(), tuesday)
    late = promote(config, add_version(config, "monday"), quiet(), monday, force=True)
    assert (late.changed, late.run_id) == (False, "tuesday")


def test_champion_record_survives_being_written_and_read(store):
    hold(store, "x", quiet())
    read = read_champion(store)
    assert read_json(store.champion) == json.loads(json.dumps(as_document(read)))
