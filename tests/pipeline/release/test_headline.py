"""A release in plain words."""

import pytest

from pipeline.dataset.records import BesideChampion, Evaluation, Figure, Group
from pipeline.release.headline import headline, of_100

TEST = {"hit@20": 0.372, "users": 1234.0}


def test_headline_of_a_split_by_time_speaks_of_later_and_others_do_not():
    metrics = Evaluation(test=TEST, popularity={"hit@20": 0.19})
    later, random = headline(metrics, "time"), headline(metrics, "random")
    end = "among 20 suggestions; with bestsellers 19."
    assert later.sentence == f"Of 100 shoppers, 37 find something they later bought {end}"
    assert random.sentence == f"Of 100 shoppers, 37 find something they bought {end}"
    assert "Counted on 1,234 shoppers." in random.note
    assert "no forecast" in random.note


def test_headline_without_a_test_part_promises_nothing():
    assert headline(Evaluation(), "none").sentence.startswith("Nothing was held out")


@pytest.mark.parametrize(("share", "told"), [(0.0, "none"), (0.004, "fewer than one"), (0.194, "19"), (1.0, "100")])
def test_of_100_counts_people(share, told):
    assert of_100(share) == told


def test_headline_names_the_intervals():
    found = {name: {"hit@20": Figure(value=0.3, users=99, interval=(0.21, 0.4))} for name in ("model", "popularity")}
    metrics = Evaluation(test=TEST, groups=[Group(name="all", of="all", users=99, interactions=99, found=found)])
    assert "95 % intervals: this release 21.0 to 40.0, bestsellers 21.0 to 40.0." in headline(metrics, "time").note


@pytest.mark.parametrize(
    ("interval", "told"),
    [
        ((0.01, 0.03), "better, by more than chance."),
        ((-0.03, -0.01), "worse, by more than chance."),
        ((-0.01, 0.03), "a difference that may be chance."),
        (None, "too few shoppers to tell them apart."),
    ],
)
def test_headline_claims_of_the_champion_what_the_interval_allows(interval, told):
    beside = BesideChampion(
        run_id="r0",
        interactions=9,
        model={"hit@20": Figure(value=0.4, users=50)},
        champion={"hit@20": Figure(value=0.38, users=50)},
        difference={"hit@20": Figure(value=0.02, users=50, interval=interval)},
    )
    found = headline(Evaluation(test=TEST, beside_champion=beside), "time").beside_champion
    assert found == f"Of the same 50 shoppers, the champion serves 38.0 of 100 and this release 40.0: {told}"
