"""Numbers of versions mean nothing to another registry: tags say what a version is."""

from types import SimpleNamespace

import pytest
from upath import UPath

from pipeline.errors import InputError
from pipeline.registry.champion import read_champion
from pipeline.registry.tracking import ModelVersion
from pipeline.registry.versions import adopt, champions, is_release, lost_champions, require_version_of
from pipeline.storage.files import write_json
from pipeline.storage.layout import Store
from tests.pipeline.release_factory import quiet

OLD = {"model_name": "microrec", "release": "/old/releases/x", "previous": None}


def registry(**versions):
    """A registry that has versions `v1="run digest"` and remembers where the alias was moved."""
    known = {name[1:]: ModelVersion("microrec", name[1:], *tags.split()) for name, tags in versions.items()}
    fake = SimpleNamespace(model_name="microrec", shown_uri="sqlite:///x", alias=None, version=known.get)
    fake.champion = lambda: fake.alias
    fake.set_champion = lambda version: setattr(fake, "alias", version)
    return fake


@pytest.fixture
def store(tmp_path):
    """The champion r3, before it r2 and, twice, r1, as an earlier version wrote them."""
    store, before = Store(UPath(str(tmp_path))), None
    for version, run_id in (("1", "r1"), ("2", "r2"), ("1", "r1"), ("3", "r3")):
        before = {**OLD, "run_id": run_id, "digest": f"d-{run_id}", "model_version": version, "previous": before}
    write_json(store.champion, before)
    return store


def test_is_release_compares_run_and_digest():
    tracking = registry(v1="r1 d-r1")
    assert is_release(tracking, "1", "r1", "d-r1")
    assert not is_release(tracking, "1", "r1", "d-other")
    assert not is_release(tracking, "1", "r2", "d-r1")
    assert not is_release(tracking, "2", "r1", "d-r1")


def test_require_version_of_names_what_the_version_is_and_the_mend():
    tracking = registry(v1="r9 d9")
    mend = "microrec register --again --run-id r1"
    with pytest.raises(InputError, match=f"as microrec version 1; on sqlite:///x that is release r9 .*{mend}"):
        require_version_of(tracking, "1", "r1", "d-r1")
    with pytest.raises(InputError, match=f"that is no version.*{mend}"):
        require_version_of(tracking, "2", "r1", "d-r1")
    require_version_of(tracking, "1", "r9", "d9")


def test_lost_champions_are_named_once_the_latest_first(store):
    assert lost_champions(store, registry()) == ["r3", "r1", "r2"]
    assert lost_champions(store, registry(v1="r3 d-r3", v2="r2 d-r2", v3="r3 d-r3")) == ["r1"]


def test_adopt_renames_every_record_of_the_release_and_no_other(store):
    tracking = registry()
    assert not adopt(store, tracking, "r1", "d-r1", "7", "m7", quiet())
    assert [(one.run_id, one.model_version) for one in champions(store)] == [
        ("r3", "3"),
        ("r1", "7"),
        ("r2", "2"),
        ("r1", "7"),
    ]
    assert tracking.alias is None
    [event] = read_champion(store).history
    assert (event.action, event.run_id, event.model_version) == ("registered", "r3", "3")
    assert event.reason == "release r1 was registered again as version 7"


def test_adopt_of_the_champion_moves_the_alias_also_where_the_file_names_it_already(store):
    tracking = registry()
    assert adopt(store, tracking, "r3", "d-r3", "7", "m7", quiet())
    assert (read_champion(store).model_version, tracking.alias) == ("7", "7")
    before, tracking.alias = store.champion.read_bytes(), None
    assert adopt(store, tracking, "r3", "d-r3", "7", "m7", quiet())
    assert (store.champion.read_bytes(), tracking.alias) == (before, "7")


def test_adopt_of_another_digest_changes_nothing(store):
    before = store.champion.read_bytes()
    assert not adopt(store, registry(), "r3", "another", "7", "m7", quiet())
    assert store.champion.read_bytes() == before


def test_adopt_is_not_lost_where_the_champion_is_held_meanwhile(store, monkeypatch):
    from pipeline.registry import versions
    from pipeline.registry.standing import hold

    swap, held = versions.swap_bytes, []

    def overtaken(*given):
        if not held:
            held.append(hold(store, "sale", quiet()))
        return swap(*given)

    monkeypatch.setattr(versions, "swap_bytes", overtaken)
    assert adopt(store, registry(), "r3", "d-r3", "7", "m7", quiet())
    champion = read_champion(store)
    assert (champion.model_version, champion.held.reason) == ("7", "sale")
    assert [event.action for event in champion.history] == ["registered", "held"]
