"""The model card: what it says of a whole release, of a bare one, and how long it may be."""

import dataclasses

from pipeline.dataset.records import EncoderRecord, Evaluation, InputCounts, ItemQuality, Training
from pipeline.release.manifest import Manifest
from pipeline.release.model_card import CUT, LONGEST_CARD, model_card
from pipeline.release.space import DriftRow
from pipeline.release.verdict import Row, Verdict

BARE = Manifest(
    schema_version=2,
    release_digest="ab" * 32,
    run_id="night-7",
    embedding_dim=8,
    counts={"items": 1200, "users": 34000},
    config={},
    input_digests={},
    encoders={},
    metrics=Evaluation(),
)
WHOLE = dataclasses.replace(
    BARE,
    microrec_version="1.2",
    config={"model": {"backbone": "lightgcn"}, "mlflow": {"model_name": "shop"}},
    input=InputCounts(dropped=0.125, usable={"image": 1100}, last_timestamp="2026-11-28T21:00:00+00:00"),
    encoders={"image": EncoderRecord(key="lite-1", revision="r", dim=1280, digest="cd")},
    training=Training(epochs=9, best_epoch=7, modalities=["image"], device="cpu", threads=1, torch="2"),
    metrics=Evaluation(
        test={"recall@20": 0.25, "hit@20": 0.37},
        popularity={"recall@20": 0.1, "hit@20": 0.19},
        cold_open={"recall@20": 0.12345},
        yardsticks={"image": ItemQuality(test={"recall@20": 0.05})},
    ),
    drift={"all": DriftRow(count=5, cosine_median=0.91, neighbours_kept=0.8), "new": DriftRow(count=0)},
)
VERDICT = Verdict(
    run_id="night-7",
    verdict="refused",
    champion="night-6",
    metric="recall@20",
    rows=[Row(name="champion", verdict="refused", figure=-0.3, interval=(-0.4, -0.2), limit=-0.02, percent=True)],
)


def test_model_card_says_what_is_in_the_manifest_and_the_verdict():
    card = model_card(WHOLE, VERDICT)
    for told in (
        "# Release night-7",
        "Vectors of 8 numbers for 1,200 items and 34,000 users",
        "MICRO on lightgcn, with image; best epoch 7 of 9",
        "made by microrec 1.2",
        "Refused, against champion night-6",
        "| champion | refused | -30.0 % | -40.0 % to -20.0 % | -2.0 % |",
        "Of 100 shoppers, 37 find something they bought among 20 suggestions; with bestsellers 19.",
        "| the model, test | 0.2500 | 0.3700 |",
        "| image alone, untrained | 0.0500 |  |",
        "| the model, new items among all | 0.1235 |  |",
        "interactions until 2026-11-28T21:00:00+00:00",
        "12.5 % of the rows dropped",
        "image: 1,100 items with usable content",
        "encoder lite-1, 1280 numbers",
        "- all: median cosine 0.91, 80 % of the neighbours kept",
        'load_model("models:/shop@champion")',
    ):
        assert told in card
    assert "- new:" not in card  # nothing was there to measure


def test_model_card_of_a_release_without_metrics_says_that_nothing_was_measured():
    card = model_card(BARE, None)
    assert "nothing was measured" in card
    assert "## Gate" not in card
    assert "## Since the champion" not in card


def test_model_card_measured_on_validation_shows_no_popularity_of_test():
    metrics = Evaluation(validation={"hit@20": 0.5}, popularity={"hit@20": 0.4})
    card = model_card(dataclasses.replace(BARE, metrics=metrics), None)
    assert "| the model, validation | 0.5000 |" in card
    assert "| popularity" not in card


def test_model_card_is_never_longer_than_mlflow_keeps():
    rows = [Row(name=f"check {number}", verdict="passed", figure=0.5, limit=0.1) for number in range(300)]
    card = model_card(WHOLE, dataclasses.replace(VERDICT, rows=rows))
    assert len(card) == LONGEST_CARD
    assert card.endswith(CUT)
