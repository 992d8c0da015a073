"""`champion` and its commands, as a shell sees them."""

import io
import json

import pytest
from upath import UPath

from pipeline.cli.show import show_moved
from pipeline.dataset.records import Evaluation
from pipeline.registry.champion import Champion
from pipeline.registry.promotion import Moved
from pipeline.registry.standing import standing
from pipeline.storage.files import write_json
from pipeline.storage.layout import Store
from pipeline.terminal import Terminal
from tests.commands import microrec
from tests.pipeline.release_factory import make_config

CHAMPION = {"run_id": "r1", "digest": "d1", "model_name": "microrec", "model_version": "1", "previous": None}


@pytest.fixture
def shop(tmp_path):
    write_json(make_config(tmp_path, database=False).open_store().champion, CHAMPION)
    (tmp_path / "microrec.toml").write_text(
        '[catalogue]\nitems = "items.parquet"\ninteractions = ["x.parquet"]\n[store]\nroot = "store"\n'
    )
    return tmp_path / "microrec.toml"


def test_champion_shows_which_release_stands_and_why_it_is_held(shop):
    done = microrec("champion", "hold", "--reason", "sale week", "-c", shop, "--json")
    assert json.loads(done.stdout)["held"]["reason"] == "sale week", done.stderr
    shown = json.loads(microrec("champion", "-c", shop, "--json").stdout)
    assert (shown["run_id"], shown["model_version"], shown["held"]["reason"]) == ("r1", "1", "sale week")
    assert "history" not in shown
    assert json.loads(microrec("champion", "free", "-c", shop, "--json").stdout)["held"] is None


def test_champion_history_names_every_event_newest_first(shop):
    assert "nothing is recorded yet" in microrec("champion", "history", "-c", shop).stdout
    microrec("champion", "hold", "--reason", "sale week", "-c", shop)
    microrec("champion", "free", "-c", shop)
    first, second = microrec("champion", "history", "-c", shop).stdout.splitlines()
    assert ("freed" in first, "held" in second, "sale week" in second) == (True, True, True)
    assert len(json.loads(microrec("champion", "history", "-c", shop, "--json").stdout)["events"]) == 2


def test_champion_options_before_the_subcommand_are_refused_with_a_mend(shop):
    done = microrec("champion", "-c", shop, "free")
    assert done.returncode == 2
    assert "give -c, --set and --json behind free" in done.stderr


def test_champion_hold_without_a_reason_is_refused(shop):
    assert microrec("champion", "hold", "-c", shop).returncode == 2


def test_show_moved_leaves_out_what_only_programs_read(tmp_path):
    champion = Champion(run_id="r1", digest="d1", model_name="microrec", model_version="1", previous=None)
    moved = Moved(
        **vars(standing(Store(UPath(str(tmp_path))), champion)),
        changed=True,
        counts={"user_vectors": 6},
        metrics=Evaluation(),
    )
    console = Terminal(file=io.StringIO(), width=120)
    show_moved(moved, console)
    shown = console.file.getvalue()
    assert "changed" in shown
    assert "r1" in shown
    assert "counts" not in shown
    assert "metrics" not in shown
