"""Weights that are `auto`, remembered from the champion: on a tiny run's real stages."""

import shutil

import pytest

from model.config import ModelConfig
from pipeline import stages
from pipeline.documents import as_document
from pipeline.opening import open_run
from pipeline.registry.champion import Champion
from pipeline.release.manifest import MANIFEST, read_manifest
from pipeline.run import Run
from pipeline.stages.found_weights import FoundWeights, found_weights, train_interactions, with_found_weights
from pipeline.stages.history import read_history
from pipeline.stages.order import do_stage
from pipeline.storage.files import local_path, read_json, write_json
from tests.pipeline.release_factory import quiet
from tests.pipeline.tiny import make_tiny

WEIGHTS = {"l2": 7.0, "content_weight": 0.9, "contrastive_weight": 0.05}
TASTE = {"text": 0.6}
UPTO_EXPORT = (stages.PREPARE, stages.TRAIN, stages.EVALUATE, stages.EXPORT)


@pytest.fixture
def shop(tmp_path):
    """Opens nights of a shop whose champion has found `WEIGHTS`; the settings are those of the night."""
    first = open_run(make_tiny(tmp_path), "first", quiet())
    for stage in UPTO_EXPORT:
        do_stage(first, stage)
    release = first.store.release("first")
    manifest = read_json(release / MANIFEST)
    manifest["training"] |= {"weights": WEIGHTS, "taste_weights": TASTE, "weights_of": "first"}
    write_json(release / MANIFEST, manifest)
    digest = read_manifest(release).release_digest
    champion = Champion(run_id="first", digest=digest, model_name="microrec", model_version="1", previous=None)
    write_json(first.store.champion, as_document(champion))

    def night(name="second", **sections):
        settings = {"model": {"embedding_dim": 8, "neighbours": 4}, **sections}
        run = open_run(make_tiny(tmp_path, **settings), name, quiet())
        do_stage(run, stages.PREPARE)
        return run

    return night


def test_train_with_a_champion_takes_its_weights_and_its_taste_and_says_whose(shop):
    run = shop()
    do_stage(run, stages.TRAIN)
    trained = run.require(stages.TRAIN)
    assert (trained.weights, trained.taste_weights, trained.weights_of) == (WEIGHTS, TASTE, "first")


def test_found_weights_are_those_of_whoever_searched_them(shop):
    second = shop()
    for stage in UPTO_EXPORT[1:]:
        do_stage(second, stage)
    digest = read_manifest(second.store.release("second")).release_digest
    champion = Champion(run_id="second", digest=digest, model_name="microrec", model_version="2", previous=None)
    write_json(second.store.champion, as_document(champion))
    third = shop("third")
    found = FoundWeights(run_id="first", training=WEIGHTS, taste=TASTE, interactions=train_interactions(second))
    assert found_weights(third, ["text"]) == found


@pytest.mark.parametrize(("then", "are_known"), [(1 / 1.09, True), (1 / 1.12, False), (1.12, False), (1.09, True)])
def test_found_weights_serve_until_the_data_has_grown_or_shrunk_by_a_tenth(shop, then, are_known):
    run = shop()
    manifest = run.store.release("first") / MANIFEST
    changed = read_json(manifest)
    changed["training"]["weights_interactions"] = round(then * train_interactions(run))
    write_json(manifest, changed)
    found = found_weights(run, ["text"])
    assert (found.training, found.searches_on) == (WEIGHTS, not are_known)
    assert found.taste == (TASTE if are_known else None)


def grown(shop, name="second", **train):
    """A night whose champion found its weights on half as many interactions."""
    settings = {"max_epochs": 400, "check_every": 1, "device": "cpu", "batch_size": 16, **train}
    run = shop(name, train=settings)
    manifest = run.store.release("first") / MANIFEST
    changed = read_json(manifest)
    changed["training"]["weights_interactions"] = train_interactions(run) // 2
    write_json(manifest, changed)
    return run


def test_train_on_data_that_has_grown_searches_on_from_the_champion(shop):
    run = grown(shop)
    do_stage(run, stages.TRAIN)
    trained = run.require(stages.TRAIN)
    assert trained.warm_start.run_id == "first"
    assert (trained.weights_of, trained.weights_interactions) == ("second", train_interactions(run))
    assert trained.epochs > 10  # the changes of one weight after another


def test_train_on_data_that_has_grown_never_falls_behind_the_champion(shop):
    run = grown(shop)
    do_stage(run, stages.TRAIN)
    trained, history = run.require(stages.TRAIN), read_history(run)
    best = history[trained.best_epoch - 1].metric if trained.best_epoch else trained.warm_start.metric
    assert best >= trained.warm_start.metric


def test_found_weights_of_data_that_has_grown_are_nothing_to_a_night_that_does_not_begin_warm(shop):
    assert found_weights(grown(shop, warm_start="none"), ["text"]) == FoundWeights()


def test_train_with_weights_of_a_chain_of_nights_hands_on_how_many_interactions_they_were_found_on(shop):
    run = shop()
    manifest = run.store.release("first") / MANIFEST
    changed = read_json(manifest)
    changed["training"]["weights_interactions"] = train_interactions(run) + 1
    write_json(manifest, changed)
    do_stage(run, stages.TRAIN)
    assert run.require(stages.TRAIN).weights_interactions == train_interactions(run) + 1


@pytest.mark.parametrize(
    "sections",
    [
        {"model": {"embedding_dim": 8, "neighbours": 5}},
        {"train": {"max_epochs": 2, "device": "cpu", "objective": {"ranking": "softmax"}}},
        {"train": {"max_epochs": 2, "device": "cpu", "auto_weights": "anew"}},
    ],
)
def test_found_weights_of_another_model_or_asked_for_anew_are_none(shop, sections):
    assert found_weights(shop(**sections), ["text"]) == FoundWeights()


def test_found_weights_without_the_same_modalities_or_encoder_are_none(shop):
    run = shop()
    assert found_weights(run, []) == FoundWeights()
    manifest = run.store.release("first") / MANIFEST
    changed = read_json(manifest)
    changed["encoders"]["text"]["key"] = "another"
    write_json(manifest, changed)
    assert found_weights(run, ["text"]) == FoundWeights()


def test_found_weights_of_a_damaged_champion_are_none(shop):
    run = shop()
    (run.store.release("first") / MANIFEST).write_text("{")
    assert found_weights(run, ["text"]) == FoundWeights()


def test_found_weights_are_decided_once_in_a_night(shop):
    run = shop()
    assert found_weights(run, ["text"]).training == WEIGHTS
    shutil.rmtree(local_path(run.store.release("first")))
    assert found_weights(run, ["text"]).training == WEIGHTS


def test_found_weights_of_a_search_that_was_cut_off_are_where_the_next_one_begins(shop):
    run = shop()
    manifest = run.store.release("first") / MANIFEST
    cut = read_json(manifest)
    cut["training"]["weights_of"] = None
    write_json(manifest, cut)
    found = found_weights(run, ["text"])
    assert (found.training, found.taste, found.searches_on) == (WEIGHTS, None, True)
    do_stage(run, stages.TRAIN)
    assert run.require(stages.TRAIN).warm_start.run_id == "first"


def test_found_weights_of_another_release_of_that_name_are_none(shop):
    run = shop()
    manifest = run.store.release("first") / MANIFEST
    write_json(manifest, read_json(manifest) | {"release_digest": "0" * 64})
    assert found_weights(run, ["text"]) == FoundWeights()


def test_found_weights_where_none_is_auto_are_none(shop):
    numbers = {"embedding_dim": 8, "neighbours": 4, "content_weight": 0.3, "taste_weight": 0.0}
    objective = {"l2": 1.0, "contrastive_weight": 0.0}
    run = shop(model=numbers, train={"max_epochs": 2, "device": "cpu", "objective": objective})
    assert found_weights(run, ["text"]) == FoundWeights()


def test_found_weights_of_a_run_that_training_begins_from_are_its_own(shop):
    run = shop(train={"max_epochs": 2, "check_every": 1, "device": "cpu", "batch_size": 16, "warm_start": "first"})
    own = Run.present("first", run.config, run.store, quiet()).require(stages.TRAIN)
    found = found_weights(run, ["text"])
    assert (found.run_id, found.training) == ("first", own.weights)
    do_stage(run, stages.TRAIN)
    assert run.require(stages.TRAIN).warm_start.run_id == "first"


def test_train_whose_weights_are_to_be_found_does_not_begin_warm(shop):
    warm = {"max_epochs": 2, "check_every": 1, "device": "cpu", "batch_size": 16, "warm_start": "champion"}
    run = shop(train={**warm, "auto_weights": "anew"})
    do_stage(run, stages.TRAIN)
    assert "are to be found" in run.require(stages.TRAIN).warm_start.reason


def test_train_cut_off_while_it_searches_does_not_call_its_weights_found(shop):
    run = shop(train={"max_epochs": 2, "check_every": 1, "device": "cpu", "batch_size": 16, "auto_weights": "anew"})
    do_stage(run, stages.TRAIN)
    assert run.require(stages.TRAIN).weights_of is None


def test_train_that_has_found_its_weights_hands_them_on(shop):
    run = shop(train={"max_epochs": 400, "check_every": 1, "device": "cpu", "batch_size": 16, "auto_weights": "anew"})
    do_stage(run, stages.TRAIN)
    assert run.require(stages.TRAIN).weights_of == "second"


def test_with_found_weights_takes_the_trainings_content_weight_or_where_auto_begins(shop):
    run = shop()
    training = read_manifest(run.store.release("first")).training
    assert with_found_weights(ModelConfig(), training).content_weight == 0.9
    assert with_found_weights(ModelConfig(), None).content_weight == 0.4
