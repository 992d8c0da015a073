"""Training that begins from the champion: on real stages and a real registry, over a small planted catalogue."""

import io
import re
import shutil

import numpy as np
import polars as pl
import pytest
from safetensors.torch import load_file, save_file
from upath import UPath

import pipeline.stages.train
import pipeline.stages.warm_start
from pipeline import stages
from pipeline.columns import USER_INDEX
from pipeline.dataset.dataset import load_dataset
from pipeline.dataset.records import WarmStart
from pipeline.documents import as_document
from pipeline.errors import ConfigError
from pipeline.opening import open_run
from pipeline.progress import Reporter
from pipeline.registry.champion import Champion
from pipeline.release.manifest import read_manifest
from pipeline.run import Run
from pipeline.stages.checkpoint import PARAMETERS, VECTORS
from pipeline.stages.order import do_stages, run_all
from pipeline.stages.warm_start import trained_before
from pipeline.storage.files import file_sha256, read_json, write_json
from pipeline.terminal import Terminal
from tests.pipeline.release_factory import make_config

NUM_USERS, NUM_ITEMS, NUM_FAMILIES = 60, 60, 4


class KilledError(BaseException):
    """Stands for the end of the process."""


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Users like one family, vectors show it; today has one user, one item and one of u00's interactions more."""
    folder, rng = tmp_path_factory.mktemp("sources"), np.random.default_rng(0)
    users, items = ([f"{letter}{place:02d}" for place in range(60)] for letter in "ui")
    rows = [(users[u], items[i]) for u in range(NUM_USERS) for i in range(u % 4, NUM_ITEMS, 4) if rng.random() < 0.8]
    today = pl.DataFrame(rows, schema=["user_id", "item_id"], orient="row")
    last = today.filter(pl.col("user_id") == "u00").tail(1)
    yesterday = today.join(last, on=["user_id", "item_id"], how="anti").filter(
        (pl.col("user_id") != "u59") & (pl.col("item_id") != "i59")
    )
    centre = rng.normal(size=(NUM_FAMILIES, 8))
    vectors = centre[np.arange(NUM_ITEMS) % NUM_FAMILIES] + 0.3 * rng.normal(size=(NUM_ITEMS, 8))
    catalogue = pl.DataFrame({"item_id": items})
    pl.DataFrame({"item_id": items, "vector": vectors.tolist()}).write_parquet(folder / "vectors.parquet")
    for name, interactions, known in (("yesterday", yesterday, catalogue.head(59)), ("today", today, catalogue)):
        interactions.write_parquet(folder / f"{name}-interactions.parquet")
        known.write_parquet(folder / f"{name}-items.parquet")
    return folder


@pytest.fixture
def begin(sources, tmp_path):
    """Opens a run of one day in the test's own store; the reporter's file holds what it says."""

    def open_day(run_id, day, *, warm_start="none", learning_rate=1e-3, model=None, **sections):
        document = {
            "catalogue": {
                "items": str(sources / f"{day}-items.parquet"),
                "interactions": [str(sources / f"{day}-interactions.parquet")],
            },
            "modalities": {"content": {"encoder": "precomputed", "vectors": str(sources / "vectors.parquet")}},
            "train": {
                "device": "cpu",
                "max_epochs": 4,
                "check_every": 2,
                "learning_rate": learning_rate,
                "warm_start": warm_start,
                "objective": {"l2": 2.3, "contrastive_weight": 0.003},
            },
            "model": {"embedding_dim": 8, "neighbours": 5, "content_weight": 0.4, **(model or {})},
        }
        config = make_config(tmp_path, **document, **sections)
        return open_run(config, run_id, Reporter(Terminal(file=io.StringIO(), soft_wrap=True)))

    return open_day


def finish_training(run: Run):
    do_stages(run, upto=stages.TRAIN)
    return run.require(stages.TRAIN)


def vectors_sha256(run: Run) -> str:
    return file_sha256(run.folder(stages.TRAIN) / VECTORS)


def said(run: Run) -> str:
    return run.reporter.console.file.getvalue()


def crown(run: Run) -> None:
    """Name a champion, as promotion does."""
    champion = Champion(run_id=run.id, digest="d", model_name="microrec", model_version="1", previous=None)
    write_json(run.store.champion, as_document(champion))


@pytest.mark.integration
def test_run_second_night_starts_from_the_champion_and_says_so(begin):
    no_baselines = {"gate": {"baselines": []}}  # which four epochs on 60 items do not beat
    first = run_all(begin("first", "yesterday", **no_baselines))
    assert first.mlflow.alias == "champion"
    night = begin("night", "today", warm_start="champion", **no_baselines)
    second = run_all(night)
    record = read_manifest(UPath(second.release)).training.warm_start
    assert record == night.require(stages.TRAIN).warm_start
    assert as_document(record) == read_json(night.path / "warm_start.json")
    assert record.run_id == "first"
    assert record.parameters_sha256 == file_sha256(night.store.run("first") / "train" / PARAMETERS)
    assert (record.known_users, record.known_items) == (59, 59)
    assert "starts from run first, which knows 59 of 60 users and 59 of 60 items; recall@20" in said(night)
    assert record.metric <= second.metrics.validation["recall@20"]


def test_train_warm_every_row_begins_where_its_id_says(begin):
    """Rows of known ids are the champion's; that of i59, new, is its content neighbours' mean; u59's is 0."""
    first = begin("first", "yesterday")
    finish_training(first)
    crown(first)
    night = begin("night", "today", warm_start="champion", learning_rate=1e-9)  # it stays where it begins
    finish_training(night)
    before, after = (load_file(str(run.folder(stages.TRAIN) / PARAMETERS)) for run in (first, night))
    for name in ("user_embedding_UD", "item_embedding_ID"):
        np.testing.assert_allclose(after[name][:59], before[name], atol=1e-5)
    np.testing.assert_allclose(after["user_embedding_UD"][59], 0, atol=1e-5)
    mean = after["item_embedding_ID"][59]
    of_family = before["item_embedding_ID"][3:59:4]  # i59's content neighbours
    assert mean.ge(of_family.amin(0) - 1e-5).all()
    assert mean.le(of_family.amax(0) + 1e-5).all()


def test_prepare_keeps_in_training_what_the_champion_was_trained_on(begin):
    """u00 has one interaction more and is entitled to one more in test: by the draws alone an old one would go."""
    probe = begin("probe", "today")
    do_stages(probe, upto=stages.PREPARE)
    data = load_dataset(probe.folder(stages.PREPARE), with_features=False)
    count = len(data.interactions.filter(pl.col(USER_INDEX) == 0))
    split = {"test": 3 / count, "seed": 1}
    first = begin("first", "yesterday", split=split)
    finish_training(first)
    crown(first)
    shares, follows = {}, {}
    for start in ("champion", "first", "none"):
        night = begin(f"after-{start}", "today", split=split, warm_start=start)
        do_stages(night, upto=stages.PREPARE)
        then, today = (load_dataset(run.folder(stages.PREPARE), with_features=False) for run in (first, night))
        shares[start] = trained_before(then, today)
        follows[start] = night.require(stages.PREPARE).split_follows
    assert shares["none"] > shares["champion"] == shares["first"] == 0
    assert follows == {"champion": "first", "first": "first", "none": None}
    assert finish_training(begin("after-champion", "today", split=split, warm_start="champion")).warm_start.run_id


def test_prepare_after_a_run_with_another_split_follows_none(begin):
    finish_training(begin("first", "yesterday", split={"seed": 1}))
    night = begin("night", "today", warm_start="first")
    do_stages(night, upto=stages.PREPARE)
    assert night.require(stages.PREPARE).split_follows is None


def test_train_inherited_share_breaks_no_chain_to_which_the_night_adds_nothing(begin):
    """Of a version that allowed more."""
    first = begin("first", "yesterday")
    finish_training(first)
    file = first.folder(stages.TRAIN) / "result.json"
    inherited = WarmStart(run_id="before", trained_before=0.03)
    write_json(file, read_json(file) | {"warm_start": as_document(inherited)})
    record = finish_training(begin("night", "today", warm_start="first")).warm_start
    assert (record.run_id, record.trained_before) == ("first", 0.03)


def test_train_killed_before_the_first_checkpoint_resumes_from_the_same_champion(begin, monkeypatch):
    first, other = begin("first", "yesterday"), begin("other", "yesterday", split={"seed": 0, "test": 0.2})
    for run in (first, other):
        finish_training(run)
    crown(first)
    undisturbed = begin("undisturbed", "today", warm_start="champion")
    finish_training(undisturbed)

    def die(*_):
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(pipeline.stages.train, "save_checkpoint", die)
        with pytest.raises(KilledError):
            finish_training(begin("killed", "today", warm_start="champion"))
    crown(other)
    killed = begin("killed", "today", warm_start="champion")
    assert not (killed.path / "checkpoints").exists()
    assert finish_training(killed).warm_start.run_id == "first"
    assert vectors_sha256(killed) == vectors_sha256(undisturbed)


def test_train_resumed_from_a_checkpoint_needs_the_champion_no_more(begin, monkeypatch):
    first = begin("first", "yesterday")
    finish_training(first)
    crown(first)
    undisturbed = begin("undisturbed", "today", warm_start="champion")
    finish_training(undisturbed)
    save = pipeline.stages.train.save_checkpoint

    def save_and_die(*arguments):
        save(*arguments)
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(pipeline.stages.train, "save_checkpoint", save_and_die)
        with pytest.raises(KilledError):
            finish_training(begin("killed", "today", warm_start="champion"))
    shutil.rmtree(str(first.path))
    killed = begin("killed", "today", warm_start="champion")
    result = finish_training(killed)
    assert "resumed after epoch 2" in said(killed)
    assert result.warm_start == undisturbed.require(stages.TRAIN).warm_start
    assert vectors_sha256(killed) == vectors_sha256(undisturbed)


def test_train_without_a_champion_starts_fresh_and_stays_so(begin, monkeypatch):
    cold, night = begin("cold", "today"), begin("night", "today", warm_start="champion")
    finish_training(cold)
    monkeypatch.setattr(pipeline.stages.train, "save_checkpoint", lambda *_: (_ for _ in ()).throw(KilledError))
    with pytest.raises(KilledError):
        finish_training(night)
    monkeypatch.undo()
    crown(cold)  # one appears while the run lies dead
    assert finish_training(night).warm_start == WarmStart(run_id=None, reason="there is none yet")
    assert "starts fresh, not from the champion: there is none yet" in said(night)
    assert vectors_sha256(night) == vectors_sha256(cold)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"model": {"embedding_dim": 4}}, r"has another model \(model.embedding_dim: 8 then, 4 now\)"),
        ({"model": {"backbone": "mf"}}, "backbone: 'lightgcn' then, 'mf' now"),
        ({"model": {"modalities": []}}, r"modalities: \['content'\] then, \[\] now"),
        ({"split": {"seed": 1}}, r"were trained on \d\d\.\d% of what run night holds out; at most 1%"),
        ({"gone": True}, "there is no finished training in .*first"),
    ],
)
def test_train_champion_that_does_not_fit_is_left_and_the_reason_said(begin, changes, reason):
    first = begin("first", "yesterday")
    finish_training(first)
    crown(first)
    if changes.pop("gone", False):
        shutil.rmtree(str(first.path))
    night, cold = begin("night", "today", warm_start="champion", **changes), begin("cold", "today", **changes)
    record = finish_training(night).warm_start
    finish_training(cold)
    assert record.run_id is None
    assert re.search(reason, record.reason)
    assert record.reason in said(night)
    assert vectors_sha256(night) == vectors_sha256(cold)


def cut(file):
    file.write_bytes(file.read_bytes()[:-40])


def spoil(file):
    parameters = load_file(str(file))
    parameters["item_embedding_ID"][3, 2] = np.nan
    save_file(parameters, str(file))


def lose(file):
    parameters = load_file(str(file))
    del parameters["user_embedding_UD"]
    save_file(parameters, str(file))


def add(file):
    parameters = load_file(str(file))
    save_file({**parameters, "old_weight": parameters["item_embedding_ID"].clone()}, str(file))


def narrow(file):
    parameters = load_file(str(file))
    save_file({**parameters, "item_embedding_ID": parameters["item_embedding_ID"][:, :1].contiguous()}, str(file))


def shorten(file):
    parameters = load_file(str(file))
    save_file({**parameters, "user_embedding_UD": parameters["user_embedding_UD"][:30].contiguous()}, str(file))


DAMAGES = {
    "parameters gone": (f"train/{PARAMETERS}", lambda file: file.unlink()),
    "parameters cut": (f"train/{PARAMETERS}", cut),
    "parameters NaN": (f"train/{PARAMETERS}", spoil),
    "a parameter missing": (f"train/{PARAMETERS}", lose),
    "a parameter too many": (f"train/{PARAMETERS}", add),
    "an embedding too narrow": (f"train/{PARAMETERS}", narrow),
    "an embedding too short": (f"train/{PARAMETERS}", shorten),
    "data set gone": ("prepare", lambda folder: shutil.rmtree(folder)),
    "configuration gone": ("config.json", lambda file: file.unlink()),
    "configuration cut": ("config.json", cut),
    "result cut": ("train/result.json", cut),
}


def test_train_champion_of_a_version_with_fewer_settings_is_used(begin):
    first = begin("first", "yesterday")
    finish_training(first)
    crown(first)
    recorded = read_json(first.path / "config.json")
    del recorded["model"]["absent"]
    write_json(first.path / "config.json", recorded)
    assert finish_training(begin("night", "today", warm_start="champion")).warm_start.run_id == "first"


def test_train_second_attempt_begins_where_the_first_decided(begin, monkeypatch):
    """The champion changes between the two, before either has written more than which run it is."""
    first, other = begin("first", "yesterday"), begin("other", "yesterday", learning_rate=2e-3)
    for run in (first, other):
        finish_training(run)
    crown(first)
    carry_over = pipeline.stages.warm_start.carry_over

    def overtaken(*arguments):
        monkeypatch.undo()
        crown(other)
        assert finish_training(begin("night", "today", warm_start="champion")).warm_start.run_id == "first"
        return carry_over(*arguments)

    monkeypatch.setattr(pipeline.stages.warm_start, "carry_over", overtaken)
    assert finish_training(begin("night", "today", warm_start="champion")).warm_start.run_id == "first"


def test_train_damaged_champion_is_left_and_the_reason_said(begin, tmp_path):
    first = begin("first", "yesterday")
    finish_training(first)
    sound = tmp_path / "sound"
    shutil.copytree(str(first.path), sound)
    for number, (name, (place, damage)) in enumerate(DAMAGES.items()):
        shutil.rmtree(str(first.path))
        shutil.copytree(sound, str(first.path))
        damage(first.path / place)
        crown(first)
        night = begin(f"night-{number}", "today", warm_start="champion")
        finish_training(night)
        assert night.require(stages.TRAIN).warm_start.run_id is None, name
        assert "starts fresh, not from the champion: run first is damaged" in said(night), name
    write_json(first.store.champion, {})
    night = begin("night", "today", warm_start="champion")
    finish_training(night)
    assert "starts fresh, not from the champion" in said(night)


def test_train_named_run_is_used_or_refused(begin):
    finish_training(begin("first", "yesterday"))
    assert finish_training(begin("night", "today", warm_start="first")).warm_start.run_id == "first"
    with pytest.raises(ConfigError, match=r"train\.warm_start = 'frist': there is no such run"):
        begin("slip", "today", warm_start="frist")
