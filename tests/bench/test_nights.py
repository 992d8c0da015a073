"""The simulation of nights: its shop, its faults, its page, and a few nights for real."""

import errno
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from bench.nights import disk
from bench.nights.__main__ import spend_all
from bench.nights.catalogue import open_shop, reveal
from bench.nights.kinds import HONEST, KINDS, Outcome, draw, fewer_items, renamed, shuffled
from bench.nights.night import Night, Nights
from bench.nights.page import Begun, begin, by_night, page, recovered, summary

NIGHTS = 20
SMALL = ("model.embedding_dim=16", "modalities.text.encoder=hashed-words:64")
NAMED = {kind.name: kind for kind in KINDS}


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    return open_shop(tmp_path_factory.mktemp("shop"), items=40, users=60, nights=NIGHTS, seed=0)


@pytest.fixture
def night():
    return Night(
        number=3, kind="none", blame="nothing", when="", right=[Outcome.PROMOTED], seen=Outcome.PROMOTED,
        statuses=[0], note="", champion="night-03", wrong_champion=False, verified=None, seconds=12.0,
    )  # fmt: skip


def test_shop_grows_by_a_hundredth_each_night(shop):
    counts = [len(shop.at(night).interactions) for night in range(NIGHTS + 1)]
    grown = np.diff(counts) / counts[:-1]
    assert (abs(grown - 0.01) < 0.002).all()
    assert counts[5] < len(shop.at(5.5).interactions) < counts[6]


def test_reveal_each_of_few_nights_brings_rows():
    earliest = np.where(np.arange(1000) % 10 == 0, 3.0, 0.0)
    moment = reveal(earliest, 6, np.random.default_rng(0))
    assert all(((moment > night - 1) & (moment <= night)).sum() >= 8 for night in range(1, 7))
    assert (moment >= earliest).all()


def test_shop_interactions_come_with_their_item_and_later_than_those_before(shop):
    for moment in (0, 3, 3.5, NIGHTS):
        tables = shop.at(moment)
        assert tables.interactions["item_id"].is_in(tables.items["item_id"].implode()).all()
    before, now = shop.at(4).interactions, shop.at(5).interactions
    new = now.join(before, on=["user_id", "item_id"], how="anti")
    assert new["timestamp"].min() > before["timestamp"].max()


def test_shop_items_and_users_come_late(shop):
    first, last = shop.at(0), shop.at(NIGHTS)
    assert len(first.items) < len(last.items) == 40
    assert first.interactions["user_id"].n_unique() < last.interactions["user_id"].n_unique() == 60


def test_draw_half_of_the_nights_have_a_fault_and_every_kind_comes_before_one_comes_again():
    drawn = draw(50, KINDS, np.random.default_rng(1))
    faults = [kind.name for kind in drawn if kind.name != "none"]
    assert len(faults) == 25
    assert set(faults[: len(KINDS)]) == set(NAMED)
    assert [kind.name for kind in drawn[:2]] == ["none", "none"]


def test_fewer_items_leaves_interactions_alone(shop):
    tables = shop.at(0)
    fewer = fewer_items(0.5)(tables, np.random.default_rng(0))
    assert len(fewer.items) == len(tables.items) // 2
    assert fewer.interactions.equals(tables.interactions)


@pytest.mark.parametrize("change", [shuffled, renamed("item_id"), renamed("user_id")])
def test_changes_of_interactions_keep_all_counts_that_the_checks_look_at(shop, change):
    tables = shop.at(0)
    changed = change(tables, np.random.default_rng(0)).interactions
    pairs = [set(table.select("user_id", "item_id").iter_rows()) for table in (tables.interactions, changed)]
    assert len(pairs[0] & pairs[1]) < 0.9 * len(pairs[0])
    for name in ("user_id", "item_id"):
        assert set(changed[name]) == set(tables.interactions[name])


@pytest.mark.parametrize(("number", "read"), [(errno.EIO, False), (errno.ENOSPC, True)])
def test_disk_fails_while_the_fault_is_there(tmp_path, number, read):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "old").write_text("x")
    script = (
        "from pathlib import Path; import sys\n"
        "def tried(deed):\n"
        "    try: deed()\n"
        "    except OSError as error: return str(error.errno)\n"
        "    return 'done'\n"
        "store = Path('store').resolve()\n"
        "print(tried((store / 'old').read_text), tried(lambda: (store / 'new').write_text('x')))\n"
    )
    environment = {
        **os.environ,
        "PYTHONPATH": disk.__path__[0],
        "NIGHTS_DISK": str((tmp_path / "store").resolve()),
        "NIGHTS_DISK_FAULT": str(tmp_path / "fault"),
        "NIGHTS_DISK_ERRNO": str(number),
    }

    def told():
        command = [sys.executable, "-c", script]
        return subprocess.check_output(command, cwd=tmp_path, env=environment, text=True).split()

    assert told() == ["done", "done"]
    (tmp_path / "fault").touch()
    assert told() == ["done" if read else str(number), str(number)]


def test_night_is_lost_only_where_input_and_settings_are_faultless(night):
    refused = replace(night, seen=Outcome.GATE)
    assert refused.lost
    assert not night.lost
    assert not replace(refused, blame="input").lost


def test_summary_counts_wrong_champions_and_lost_nights(night):
    spent = [
        replace(night, kind="half of the catalogue", blame="input", right=[Outcome.CHECKS], wrong_champion=True),
        replace(night, kind="SIGKILL", blame="machine", seen=Outcome.FAILED),
        night,
    ]
    told = "\n".join(summary(spent))
    assert "| wrong champions after a night | 1 |" in told
    assert "| good nights lost | 1 |" in told
    assert "| nights that ended otherwise than is right | 2 |" in told
    assert recovered(spent) == "1; 0"


def test_by_night_marks_what_is_wrong(night):
    *_, row, _ = by_night([replace(night, when="train", statuses=[1, 0], verified=False, wrong_champion=True)])
    assert row == ("| 3 | none, in train | **promoted**, **not verified** | 1, 0 | **night-03: wrong** | 12 |")


def test_page_keeps_what_people_have_written_and_names_the_commit_of_the_beginning(night, tmp_path):
    begun, old = Begun(nights=2, seed=0, items=40, users=60, commit="abc"), tmp_path / "nights.md"
    begin(tmp_path, begun)
    begin(tmp_path, replace(begun, commit="later"))
    old.write_text(page(tmp_path, [night], old) + "\nWhat was found.\n")
    assert "The first 1 of 2 nights." in old.read_text()
    written = page(tmp_path, [night, replace(night, number=4)], old)
    assert written.endswith("\nWhat was found.\n")
    assert written.startswith("# 2 nights\n\nWritten by `python -m bench.nights --nights 2 --seed 0")
    assert ", abc;" in written
    with pytest.raises(SystemExit, match="choose another folder"):
        begin(tmp_path, replace(begun, seed=1))


def test_recall_knows_what_an_earlier_process_knew(shop, night, tmp_path):
    """A person rolled night 3 back; night 4, on the same input, must not be champion either."""
    these = Nights(shop, tmp_path, 0)
    done = [replace(night, number=number, champion=f"night-{number:02}") for number in (1, 2, 3)]
    kinds = [*[HONEST] * 3, NAMED["the same input after rollback"], NAMED["half of the catalogue"], HONEST]
    fourth, fifth = (replace(night, number=number, champion="night-02") for number in (4, 5))
    these.recall([*done, fourth, fifth], kinds)
    assert these.spoilt == {"night-03", "night-04", "night-05"}
    assert these.moment == {"night-01": 1, "night-02": 2, "night-03": 3, "night-04": 3, "night-05": 5}


@pytest.mark.slow
@pytest.mark.timeout(1800)  # a minute on an idle machine
@pytest.mark.integration
def test_nights_with_three_kinds_of_fault_end_as_they_should(tmp_path):
    kinds = [NAMED["half of the catalogue"], NAMED["SIGKILL"], NAMED["export older than the champion's"]]
    settings = (*SMALL, "train.max_epochs=8", "gate.baselines=[]")
    spent = spend_all(tmp_path / "nights", 6, 0, items=60, users=80, kinds=kinds, settings=settings)
    assert sorted(night.kind for night in spent) == sorted(["none"] * 3 + [kind.name for kind in kinds])
    assert [night for night in spent if not night.as_it_should] == []
    assert pl.read_parquet(tmp_path / "nights" / "shop" / "items.parquet").height >= 57


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.integration
def test_nights_without_checks_and_gate_see_the_wrong_champion(tmp_path):
    settings = (*SMALL, "train.max_epochs=2", "gate.metric=none", "checks.enabled=false")
    kinds = [NAMED["half of the catalogue"]]
    *_, last = spend_all(tmp_path / "nights", 3, 0, items=40, users=60, kinds=kinds, settings=settings)
    assert (last.seen, last.champion, last.wrong_champion) == (Outcome.PROMOTED, "night-03", True)
