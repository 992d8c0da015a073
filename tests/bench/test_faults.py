"""A seeded part of the catalogue of faults, on a dozen items: nothing is lost, nothing is wrong."""

import json
import signal
import subprocess
import sys
from collections import Counter

import pytest

from bench.faults import damages, limits, remote, stops, together
from bench.faults.__main__ import Row, damage_rows, object_store, table, write_page
from bench.faults.child import NOT_ENDED, Said
from bench.faults.shop import come_to, open_shop
from bench.faults.stops import told_once
from tests.pipeline.tiny import make_tiny

SEED, DAMAGES = 5, 9


def write_tiny(folder):
    folder.mkdir(parents=True, exist_ok=True)
    make_tiny(folder)
    (folder / "microrec.toml").write_text(
        '[catalogue]\nitems = "items.parquet"\ninteractions = ["interactions.parquet"]\n'
        '[modalities.text]\nencoder = "precomputed"\nvectors = "text.parquet"\n[model]\nneighbours = 4\n'
        "[train]\nbatch_size = 16\n"
    )


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield open_shop(tmp_path_factory.mktemp("faults") / "shop", write_tiny)


def test_damages_are_named_or_change_nothing(shop):
    found = [damages.damage_one(shop, SEED, number) for number in range(DAMAGES)]
    assert [one for one in found if one.seen == damages.WRONG] == []
    seen = Counter(one.seen for one in found)
    assert seen[damages.NAMED] >= 2


@pytest.mark.parametrize("anew", [False, True])
def test_night_in_a_process_of_its_own_comes_to_the_undisturbed_result(shop, anew):
    said = shop.start(shop.copy("validate"), anew=anew).end()
    assert (said.status, said.began) == (0, True), said.err
    assert come_to(json.loads(said.out)) == shop.undisturbed


def test_fork_takes_its_program_its_environment_and_its_end(shop):
    program = "import os, sys; sys.stderr.write(os.environ['OWN']); sys.exit(7)"
    said = shop.start(shop.folder, name="champion", program=program, environ={"OWN": "mine"}).end()
    assert (said.status, said.err) == (7, "mine")
    late = shop.start(shop.folder, name="champion", program="import time; time.sleep(60)").end(1)
    assert late.status == NOT_ENDED


def test_fork_that_gets_sigterm_says_so_and_continues(shop):
    assert stops.stop_after(shop, signal.SIGTERM, "train").wrong == ""


def test_night_with_few_open_files_says_so_and_continues(shop):
    stop = limits.few_files(shop, SEED, 1)
    assert stop.wrong == ""


@pytest.mark.integration
@pytest.mark.parametrize("kind", remote.OBJECT_STORE)
def test_object_store_that_fails_costs_a_night_nothing_but_time(shop, kind):
    with object_store() as s3:
        remote.count_requests(shop, s3, remote.OBJECT)
        stop = remote.object_store(kind, s3, shop, SEED, 0, longest=8)
    assert stop.wrong == ""


@pytest.mark.integration
@pytest.mark.parametrize("kind", remote.MLFLOW)
def test_mlflow_server_that_fails_costs_a_night_nothing_but_time(shop, kind):
    remote.count_requests(shop, {}, remote.SERVER)
    stop = remote.mlflow_server(kind, shop, SEED, 0, longest=8)
    assert stop.wrong == ""


def test_page_has_the_table_in_its_place(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- faults -->\nold\n<!-- end of faults -->\nafter\n")
    rows = damage_rows([damages.Damage(moment="train", file="x", kind="cut", seen=damages.NAMED)])
    assert rows == [Row(fault="a file cut", tried=1, survived=0, named=1)]
    write_page(page, table(rows))
    assert page.read_text().splitlines() == [
        *("before", "<!-- faults -->", "| fault | tried | survived | named | lost or wrong |", "|---|---|---|---|---|"),
        *("| a file cut | 1 | 0 | 1 | 0 |", "<!-- end of faults -->", "after"),
    ]


def test_jump_moves_the_clock_after_its_second_and_not_before():
    program = limits.JUMP.format(jump=86_400.0, after=0.5)
    look = "first = time.time()\ntime.sleep(0.6)\nprint(time.time() - first, time.time_ns() / 1e9 - first)"
    done = subprocess.run([sys.executable, "-c", program + look], capture_output=True, text=True, check=True)
    assert all(86_400 < float(seconds) < 86_410 for seconds in done.stdout.split())


@pytest.mark.parametrize(
    ("status", "err", "wrong"),
    [
        (1, "train: run r2\nmicrorec: no room\n", False),
        (3, "microrec: no room\n", True),
        (1, "Traceback (most recent call last)\nmicrorec: no room\n", True),
        (1, "microrec: no room\nmicrorec: no room\n", True),
        (1, "thread 'main' panicked\nmicrorec: no room\n", True),
        (-9, "", True),
    ],
)
def test_told_once_is_one_message_and_a_status_that_fits(status, err, wrong):
    assert bool(told_once(Said(status=status, out="", err=err), (1, 2))) == wrong


@pytest.mark.parametrize(
    "answer", ['[{"item_id": 2}, {"item_id": 7}]', '{"user": "u", "items": [{"item_id": 2}, {"item_id": 7}]}']
)
def test_items_of_an_answer_are_its_items_in_order(answer):
    assert together._items(answer) == "2 7"


def test_items_of_no_answer_are_what_was_said():
    assert together._items("half a") == "half a"
