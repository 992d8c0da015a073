"""Every contestant: that its settings are the ones meant, and that it can be fitted."""

import dataclasses

import numpy as np
import polars as pl
import pytest
import torch

import pipeline.experiments.compare.measure
from model.baselines.freedom import Freedom
from model.baselines.mgcn import Mgcn
from model.baselines.neighbours import content_knn, whitened_knn
from model.baselines.taste import content_taste
from model.baselines.vbpr import Vbpr
from model.divergence import DivergedError
from model.micro import Micro
from model.training import Trainer
from pipeline.config.config import compose
from pipeline.dataset.features import ModalityFeatures
from pipeline.dataset.protocol import EvaluationProtocol
from pipeline.dataset.split import split_interactions
from pipeline.documents import flatten
from pipeline.experiments.compare.contestant import LOOKED_UP, folder_name
from pipeline.experiments.compare.contestant import TRAINED as LAST
from pipeline.experiments.compare.contestants import contestants
from pipeline.experiments.compare.implicit_models import als
from pipeline.experiments.compare.measure import SeedData, measure
from pipeline.experiments.compare.settings import PAPER
from pipeline.progress import Reporter
from pipeline.stages.prepare import assemble

NUM_USERS, NUM_ITEMS, NUM_FAMILIES, DIM = 60, 80, 4, 8
MODELS = {"vbpr": Vbpr, "freedom": Freedom, "mgcn": Mgcn}
"""Of the rows that train another than `Micro`."""
ROWS = contestants(["image", "text"], DIM)
COMPUTED = [name for name, row in ROWS.items() if row.fit is not None]
TRAINED = [name for name, row in ROWS.items() if row.settings is not None]

PLAIN = {"model.modalities": [], "train.objective.ranking": "bpr", "train.objective.contrastive_weight": 0}
CHANGES = {
    "mf-bpr": {"model.backbone": "mf", **PLAIN},
    "lightgcn": {"model.backbone": "lightgcn", **PLAIN},
    "ngcf": {"model.backbone": "ngcf", **PLAIN},
    "mf-softmax": {"model.backbone": "mf", "model.modalities": [], "train.objective.ranking": "softmax"},
    "lightgcn-softmax": {"model.backbone": "lightgcn", "model.modalities": [], "train.objective.ranking": "softmax"},
    "mf-squares": {"model.backbone": "mf", "model.modalities": [], "train.objective.ranking": "squares"},
    "lightgcn-squares": {"model.backbone": "lightgcn", "model.modalities": [], "train.objective.ranking": "squares"},
    "vbpr": {"train.objective.ranking": "bpr", "train.objective.contrastive_weight": 0},
    "lattice": {
        "model.fusion": "graph",
        "model.taste_weight": 0,
        "model.new_items": "map",
        "train.objective.ranking": "bpr",
        "train.objective.contrastive_weight": 0,
    },
    "freedom": {"train.objective.ranking": "bpr", "train.objective.contrastive_weight": 0},
    "mgcn": {"train.objective.ranking": "bpr", "train.objective.contrastive_weight": 0},
    "micro-paper": dict(PAPER),
    "micro-paper-sampled": {**PAPER, "train.objective.contrastive": "sampled"},
    "micro": {},
    "micro, backbone-mf": {"model.backbone": "mf"},
    "micro, backbone-ngcf": {"model.backbone": "ngcf"},
    "micro, only-image": {"model.modalities": ["image"]},
    "micro, only-text": {"model.modalities": ["text"]},
    "micro, no-contrast": {"train.objective.contrastive_weight": 0},
    "micro, contrast-exact": {"train.objective.contrastive": "exact"},
    "micro, initial-graph": {"model.initial_graph_weight": 1},
    "micro, learned-graph": {"model.initial_graph_weight": 0},
    "micro, normalisation-row": {"model.normalisation": "row"},
    "micro, absent-mean": {"model.absent": "mean"},
    "micro, no-taste": {"model.taste_weight": 0},
    "micro, new-items-map": {"model.new_items": "map"},
    "micro, new-items-graphs": {"model.new_items": "graphs"},
    "micro, fusion-mean": {"model.fusion": "mean"},
    "micro, fusion-concat": {"model.fusion": "concat"},
    "micro, structure-step": {"train.structure_gradient": "step"},
    "micro, ranking-bpr": {"train.objective.ranking": "bpr"},
    "micro, ranking-softmax": {"train.objective.ranking": "softmax"},
    "micro, ranking-squares": {"train.objective.ranking": "squares"},
}
"""What a contestant changes in the run's configuration; where that is the ranking loss, numbers and the size of
batches chosen for it too."""

NAMED = (
    {
        "model.backbone": "ngcf",
        "model.modalities": None,
        "model.absent": "left-out",
        "model.fusion": "sum",
        "model.normalisation": "row",
        "model.taste_weight": 0.3,
        "model.content_weight": 0.31,
        "model.new_items": "graphs",
        "train.batch_size": 901,
        "train.structure_gradient": "epoch",
        "train.warm_start": "champion",
        "train.objective.ranking": "bpr",
        "train.objective.contrastive": "exact",
        "train.objective.l2": 0.51,
        "train.objective.contrastive_weight": 0.07,
    },
    {
        "model.backbone": "mf",
        "model.modalities": ["text", "image"],
        "model.absent": "mean",
        "model.fusion": "concat",
        "model.normalisation": "symmetric",
        "model.taste_weight": "auto",
        "model.content_weight": 0.61,
        "model.new_items": "raised",
        "train.batch_size": 902,
        "train.structure_gradient": "step",
        "train.warm_start": "an-earlier-run",
        "train.objective.ranking": "squares",
        "train.objective.contrastive": "sampled",
        "train.objective.l2": 0.52,
        "train.objective.contrastive_weight": 0.08,
    },
)
"""Two runs' settings, beside numbers, with nothing in common: what they agree on then is what a contestant changed."""


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    document = {"catalogue": {"items": "items.parquet", "interactions": ["interactions.parquet"]}}
    return compose(document, base=tmp_path_factory.mktemp("contestants"))


@pytest.fixture(scope="module")
def runs(config):
    """Two that differ in every number of the model and its training, and in every setting of `NAMED`."""
    values = flatten(config.as_dict())
    numbers = {key: value for key, value in values.items() if key.startswith(("model.", "train.")) and is_number(value)}
    moved = (
        {
            key: value + 1 + n if isinstance(value, int) else (value or 0.1) * (0.9 + 0.05 * n)
            for key, value in numbers.items()
        }
        for n in range(2)
    )
    return [config.with_values({**numbers, **named}) for numbers, named in zip(moved, NAMED, strict=True)]


def is_number(value):
    return isinstance(value, int | float) and not isinstance(value, bool)


def changed(runs, settings):
    """What these settings change, found by laying them over both runs."""
    before = [flatten(run.as_dict()) for run in runs]
    after = [flatten(run.with_values(settings).as_dict()) for run in runs]
    unlike = {key for key, value in before[0].items() if before[1][key] != value}
    assert set(settings) <= unlike, "settings in which the two runs are the same: add them to NAMED"
    agreed = {key: after[0][key] for key in unlike if after[0][key] == after[1][key]}
    for was, now in zip(before, after, strict=True):
        assert now == was | agreed
    return agreed


@pytest.mark.parametrize("name", TRAINED)
def test_contestants_trained_ones_change_exactly_what_is_meant(runs, name):
    row, expected = ROWS[name], CHANGES[name]
    for choice in row.choices:
        settings = {**row.settings, **choice}
        found = changed(runs, {key: value for key, value in settings.items() if not key.startswith("own.")})
        if "train.objective.ranking" in expected and not name.startswith("micro-paper"):
            chosen = {key for key, value in found.items() if is_number(value) or key == "train.batch_size"}
            free = chosen - set(expected)
            found = {key: value for key, value in found.items() if key not in free}
        assert found == expected


def test_contestants_are_the_baselines_and_ablations_of_the_published_tables_in_their_groups():
    wanted = {"chance", "popularity", "item-knn", "content-knn-image", "content-knn-text", "ease", "als", "bpr"}
    of_content = {
        f"content-{kind}-{name}" for kind in ("knn-whitened", "taste") for name in ("image", "text", "joined")
    }
    assert set(ROWS) == wanted | of_content | {"content-knn-joined"} | set(CHANGES)
    for name, row in ROWS.items():
        assert row.name == name
        ablation = "ablation" if name.startswith("micro, ") else "baseline"
        assert row.group == ("model" if name == "micro" else ablation)
        assert (row.fit is None) == (row.settings is not None)
        assert row.model is MODELS.get(name, Micro)
        assert row.is_embedding == (name in {*TRAINED, "als", "bpr"} or name.startswith("content-taste"))
        assert (row.effort == LAST) == (name in {*TRAINED, "bpr"})
    assert {name for name, row in ROWS.items() if row.effort == LOOKED_UP} == {"chance", "popularity"}


def test_contestants_every_number_that_is_searched_is_one_of_the_choices():
    for row in ROWS.values():
        for name, factor in row.steps.items():
            assert factor > 1
            assert any(isinstance(choice.get(name), int | float) for choice in row.choices), (row.name, name)


def test_contestants_every_l2_is_searched():
    for row in ROWS.values():
        assert row.choices == ({},) or "train.objective.l2" not in row.choices[0] or "train.objective.l2" in row.steps


def test_folder_name_of_an_ablation_has_no_comma():
    assert folder_name(ROWS["micro, no-contrast"]) == "micro-no-contrast"


def test_contestants_computed_factors_have_the_dimension_of_the_run():
    for name in ("als", "bpr"):
        assert {choice["factors"] for choice in ROWS[name].choices} == {DIM}


@pytest.fixture(scope="module")
def planted(config):
    """Users like one family of items; features show the family through noise."""
    rng = np.random.default_rng(0)
    family = np.arange(NUM_ITEMS) % NUM_FAMILIES
    liked = [
        (f"u{user:02}", f"i{item:02}")
        for user in range(NUM_USERS)
        for item in rng.choice(np.flatnonzero(family == user % NUM_FAMILIES), 10, replace=False)
    ]
    items = pl.DataFrame({"item_id": [f"i{item:02}" for item in range(NUM_ITEMS)]})
    interactions = pl.DataFrame(liked, schema=["user_id", "item_id"], orient="row").sort("user_id", "item_id")
    centre, features = rng.normal(size=(NUM_FAMILIES, 12)), {}
    for name in ("image", "text"):
        matrix = (centre[family] + 0.3 * rng.normal(size=(NUM_ITEMS, 12))).astype(np.float32)
        features[name] = ModalityFeatures(matrix, rng.random(NUM_ITEMS) < 0.9, "", "", "")
    values = {"model.embedding_dim": DIM, "train.device": "cpu", "split.validation": 0.2, "split.test": 0.2}
    config = config.with_values(values)
    dataset = assemble(items, split_interactions(interactions, config.split), features)
    return SeedData(config, dataset, EvaluationProtocol(dataset, config.split))


@pytest.fixture(scope="module")
def by_chance(planted):
    return measure(ROWS["chance"], planted, Reporter()).metrics["test"]["recall@20"]


@pytest.mark.parametrize("name", [name for name in COMPUTED if name not in ("chance", "popularity")])
def test_contestants_computed_ones_find_planted_families(planted, by_chance, name):
    measured = measure(ROWS[name], planted, Reporter())
    assert measured.metrics["test"]["recall@20"] > 2 * by_chance


@pytest.mark.integration
@pytest.mark.parametrize("name", TRAINED)
def test_contestants_trained_ones_find_planted_families_by_their_settings(planted, by_chance, name, monkeypatch):
    """In a few epochs, at a rate for so few; every other setting is the contestant's own."""
    trainers = []

    class Remembered(Trainer):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            trainers.append(self)

    monkeypatch.setattr(pipeline.experiments.compare.measure, "Trainer", Remembered)
    short = {"train.max_epochs": 15, "train.learning_rate": 0.05}
    settings = {**ROWS[name].settings, **ROWS[name].choices[0], **short}
    row = dataclasses.replace(ROWS[name], settings=settings, choices=({},))
    measured = measure(row, planted, Reporter())
    (trainer,) = trainers
    resolved = planted.config.with_values({key: value for key, value in settings.items() if not key.startswith("own.")})
    assert (trainer.config, type(trainer.model)) == (resolved.train, MODELS.get(name, Micro))
    assert name in MODELS or trainer.model.config == resolved.model
    assert measured.metrics["test"]["recall@20"] > 1.5 * by_chance


@pytest.mark.parametrize("modality", ["image", "text"])
def test_contestants_content_knn_is_of_its_own_modality(planted, modality):
    data, everyone = planted.dataset.training_data(), torch.arange(NUM_USERS)
    found = ROWS[f"content-knn-{modality}"].fit(data, seed=0, num_neighbours=5)
    expected = content_knn(data, modality=modality, num_neighbours=5)
    assert torch.equal(found.scores(everyone), expected.scores(everyone))


def test_contestants_joined_content_is_weighed_by_the_shares(planted):
    data, everyone = planted.dataset.training_data(), torch.arange(NUM_USERS)
    shares = {"share_image": 1.0, "share_text": 5.0}
    knn = ROWS["content-knn-whitened-joined"].fit(data, seed=0, **shares, num_neighbours=5, power=0.5, dimensions=4)
    taste = ROWS["content-taste-joined"].fit(data, seed=0, **shares, power=0.5, dimensions=4)
    by_share = {"image": 1.0, "text": 5.0}
    assert torch.equal(knn.scores(everyone), whitened_knn(data, by_share, 5, 0.5, 4).scores(everyone))
    assert torch.equal(taste.scores(everyone), content_taste(data, by_share, 0.5, 4).scores(everyone))


@pytest.mark.parametrize("row", [ROWS["content-knn-joined"], ROWS["content-taste-joined"]])
def test_contestants_shares_of_the_joined_are_all_alike_or_one_leads_and_the_first_stays(row):
    shares = {(choice["share_image"], choice["share_text"]) for choice in row.choices}
    assert shares == {(1.0, 1.0), (1.0, 3.0), (1.0, 1 / 3)}
    assert "share_text" in row.steps
    assert "share_image" not in row.steps


@pytest.mark.parametrize("name", ["freedom", "mgcn"])
def test_contestants_models_own_settings_reach_the_model(planted, name, monkeypatch):
    built = []

    class Remembered(MODELS[name]):
        def __init__(self, *given, **own):
            super().__init__(*given, **own)
            built.append(own)

    choice = ROWS[name].choices[-1]
    row = dataclasses.replace(
        ROWS[name],
        model=Remembered,
        settings={**ROWS[name].settings, "train.max_epochs": 1},
        choices=(choice,),
        steps={},
    )
    measured = measure(row, planted, Reporter())
    assert built == [{key.removeprefix("own."): value for key, value in choice.items() if key.startswith("own.")}]
    assert measured.settings == choice


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        (name, setting)
        for name in COMPUTED
        for setting in ROWS[name].choices[-1]
        if name.endswith("-joined") or not setting.startswith("share_")
    ],
)
def test_contestants_computed_ones_heed_every_setting_that_is_chosen(planted, name, setting):
    data, everyone, row = planted.dataset.training_data(), torch.arange(NUM_USERS), ROWS[name]
    settings = row.choices[-1]
    first = row.fit(data, seed=0, **settings).scores(everyone)
    smaller = {"num_neighbours": 2, "dimensions": 3}.get(setting, type(settings[setting])(settings[setting] / 4))
    other = row.fit(data, seed=0, **{**settings, setting: smaller})
    assert not torch.equal(first, other.scores(everyone))


def test_contestants_als_that_diverges_says_so(planted):
    settings = {"factors": DIM, "alpha": float("inf"), "regularization": 1.0}
    with pytest.raises(DivergedError, match="NaN"):
        als(planted.dataset.training_data(), seed=0, **settings)


def test_contestants_als_regularises_in_proportion_to_the_confidence(planted):
    data, everyone = planted.dataset.training_data(), torch.arange(NUM_USERS)
    found = ROWS["als"].fit(data, seed=0, factors=DIM, alpha=20.0, ratio=0.5)
    expected = als(data, seed=0, factors=DIM, alpha=20.0, regularization=10.0)
    assert torch.equal(found.scores(everyone), expected.scores(everyone))


@pytest.mark.parametrize(("name", "seeded"), [("popularity", False), ("ease", False), ("als", True), ("bpr", True)])
def test_contestants_computed_ones_follow_the_seed_where_they_draw(planted, name, seeded):
    data, everyone = planted.dataset.training_data(), torch.arange(NUM_USERS)
    first, again, other = (
        ROWS[name].fit(data, seed=seed, **ROWS[name].choices[0]).scores(everyone) for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert torch.equal(first, other) != seeded
