"""Reading `champion.json`, of any version and in any state, and the release that a command means."""

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from upath import UPath

from pipeline.errors import InputError, StoreError
from pipeline.registry.champion import Champion, choose_release, find_champion, read_champion
from pipeline.storage.layout import Store

OLDEST = {"run_id": "r1", "digest": "ab" * 32, "model_name": "microrec", "model_version": "1", "previous": None}
"""What the first version wrote at the least."""


@pytest.fixture
def store(tmp_path):
    return Store(UPath(str(tmp_path / "store")))


def write(store, document):
    store.root.mkdir(exist_ok=True)
    store.champion.write_text(document if isinstance(document, str) else json.dumps(document))


def add_release(store, run_id, complete=True):
    store.release(run_id).mkdir(parents=True)
    if complete:
        (store.release(run_id) / "_SUCCESS").touch()


def test_read_champion_without_one_is_none(store):
    assert read_champion(store) is None
    assert (find_champion(store).champion, find_champion(store).payload) == (None, None)


def test_read_champion_of_an_earlier_version_has_the_defaults(store):
    write(store, OLDEST)
    assert read_champion(store) == Champion(release="", metric=None, value=None, as_of=None, promoted_at=None, **OLDEST)


def test_read_champion_of_a_later_version_is_read_but_for_what_is_unknown(store):
    write(store, {**OLDEST, "signature": {"by": "us"}, "previous": {**OLDEST, "run_id": "r0", "signature": 1}})
    champion = read_champion(store)
    assert (champion.run_id, champion.previous.run_id, champion.previous.previous) == ("r1", "r0", None)


def test_find_champion_payload_is_the_file_s_bytes(store):
    """What the swap compares: spaces count."""
    write(store, json.dumps(OLDEST, indent=7))
    found = find_champion(store)
    assert (found.payload, found.champion.run_id) == (store.champion.read_bytes(), "r1")


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("{", r"champion\.json is not valid JSON"),
        ("", r"champion\.json is not valid JSON"),
        (
            {"run_id": "r1"},
            r"champion\.json lacks \['digest', .*'previous'\]; restore it .*and promote a version again",
        ),
        ("[]", r"champion\.json lacks .*'run_id'\]; restore it"),
        ("3", r"champion\.json lacks .*'run_id'\]; restore it"),
        ("null", r"champion\.json lacks .*'run_id'\]; restore it"),
        ('[["run_id"], {}]', r"champion\.json lacks .*'run_id'\]; restore it"),
        ({**OLDEST, "model_version": 1}, r"champion\.json is damaged.*model_version: .*string"),
        ({**OLDEST, "value": "high"}, r"champion\.json is damaged.*value: .*number"),
        ({**OLDEST, "previous": {"run_id": "r0"}}, r"champion\.json is damaged.*previous\.digest: Field required"),
    ],
)
def test_read_champion_damaged_is_named(store, document, message):
    write(store, document)
    with pytest.raises(StoreError, match=message):
        read_champion(store)


def chain(*names):
    champion = None
    for name in reversed(names):
        champion = Champion(**{**OLDEST, "run_id": name, "previous": champion})
    return champion


@pytest.mark.parametrize(
    ("depth", "kept"), [(0, ()), (1, ("a",)), (2, ("a", "b")), (3, ("a", "b", "c")), (9, ("a", "b", "c"))]
)
def test_cut_keeps_so_many_of_the_chain(depth, kept):
    assert chain("a", "b", "c").cut(depth) == chain(*kept)


MOMENT = datetime(2026, 11, 24, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("own", "other", "later"),
    [
        (MOMENT, MOMENT - timedelta(seconds=1), True),
        (MOMENT, MOMENT, False),
        (MOMENT, MOMENT + timedelta(seconds=1), False),
        (MOMENT, MOMENT.astimezone(timezone(timedelta(hours=9))), False),
        (None, MOMENT, False),
        (MOMENT, None, False),
        (None, None, False),
    ],
)
def test_stands_for_later_compares_moments_where_both_have_one(own, other, later):
    champion = Champion(**OLDEST, as_of=own and own.isoformat())
    assert champion.stands_for_later(other) is later


def test_choose_release_by_name_is_that_one_whatever_the_champion(store):
    add_release(store, "r1")
    add_release(store, "r2")
    write(store, OLDEST)
    assert choose_release(store, "r2") == store.release("r2")


def test_choose_release_without_a_name_is_the_champion_s(store):
    add_release(store, "r1")
    add_release(store, "r2")
    write(store, OLDEST)
    assert choose_release(store, None) == store.release("r1")


def test_choose_release_without_name_and_champion_is_the_only_one(store):
    add_release(store, "r7")
    add_release(store, "r8", complete=False)
    add_release(store, ".r9.attempt")
    assert choose_release(store, None) == store.release("r7")


@pytest.mark.parametrize("names", [[], ["r1", "r2"]])
def test_choose_release_without_name_and_champion_among_none_or_several_is_refused(store, names):
    for name in names:
        add_release(store, name)
    with pytest.raises(InputError, match=r"name a release with --release: there is no champion") as error:
        choose_release(store, None)
    assert str(error.value).endswith(f"holds {names}")


@pytest.mark.parametrize("name", ["r2", "unfinished"])
def test_choose_release_by_a_name_that_is_none_lists_those_there_are(store, name):
    add_release(store, "r1")
    add_release(store, "unfinished", complete=False)
    with pytest.raises(InputError, match=rf"no release '{name}' in .*releases; there are \['r1'\]"):
        choose_release(store, name)


def test_choose_release_in_an_empty_store_lists_none(store):
    with pytest.raises(InputError, match=r"no release 'r1' in .*; there are \[\]"):
        choose_release(store, "r1")


@pytest.mark.parametrize("slash", ["", "/"])
def test_choose_release_by_path_is_that_of_any_store(store, tmp_path, slash):
    other = Store(UPath(str(tmp_path / "other")))
    add_release(other, "r1")
    assert str(choose_release(store, f"{other.release('r1')}{slash}")) == str(other.release("r1"))


def test_choose_release_by_relative_path_begins_at_the_working_directory(store, tmp_path, monkeypatch):
    add_release(Store(UPath(str(tmp_path / "other"))), "r1")
    monkeypatch.chdir(tmp_path)
    assert str(choose_release(store, "other/releases/r1")) == str(tmp_path / "other/releases/r1")


def test_choose_release_by_a_path_that_is_none_says_what_makes_one(store, tmp_path):
    with pytest.raises(InputError, match=r"no release at .*none: a release has a _SUCCESS file"):
        choose_release(store, str(tmp_path / "none"))


def test_choose_release_by_a_path_of_an_unknown_kind_is_refused(store):
    with pytest.raises(InputError, match=r"--release: 'foo://bucket/none' begins with foo://"):
        choose_release(store, "foo://bucket/none")
