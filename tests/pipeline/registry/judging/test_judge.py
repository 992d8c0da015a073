"""What the gate says of good, equal and bad candidates; vectors are planted, nothing is trained."""

import dataclasses
import shutil

import numpy as np
import pytest
import torch

from pipeline.dataset.split import SplitConfig
from pipeline.errors import DamagedError, StoreError
from pipeline.registry.champion import Champion
from pipeline.registry.judging import yardsticks
from pipeline.storage.layout import Store
from tests.pipeline.registry.judging.shop import NUM_ITEMS, NUM_USERS, Shop

GOOD = 0.3
"""Noise of a good model."""


@pytest.fixture
def shop(tmp_path):
    return Shop(tmp_path)


def rows(verdict):
    return {row.name: row for row in verdict.rows}


def refused(verdict):
    return [row.name for row in verdict.rows if row.verdict == "refused"]


def test_judge_champion_whose_release_is_gone_is_named_and_stays_so(shop):
    champion = shop.crown(shop.candidate("old", GOOD))
    (shop.config.open_store().release("old") / "_SUCCESS").unlink()
    with pytest.raises(DamagedError, match=r"releases/old is gone, .*; restore it, or delete .*champion\.json"):
        shop.judge(shop.candidate("new", GOOD), champion)


def test_judge_equal_model_passes_every_row(shop):
    champion = shop.crown(shop.candidate("old", GOOD, seed=1))
    verdict = shop.judge(shop.candidate("new", GOOD, seed=2), champion)
    assert (verdict.verdict, refused(verdict)) == ("passed", [])
    assert (verdict.champion, verdict.champion_digest) == ("old", champion.digest)
    low, high = rows(verdict)["held out today"].interval
    assert low < 0 < high


def test_judge_the_same_vectors_differ_by_nothing(shop):
    one = shop.candidate("old", GOOD)
    verdict = shop.judge(dataclasses.replace(one, run_id="new"), shop.crown(one))
    for name in ("held out today", "held out then"):
        assert (rows(verdict)[name].figure, rows(verdict)[name].interval) == (0, (0, 0))
    assert (rows(verdict)["median item norm"].figure, rows(verdict)["coverage@20"].figure) == (1, 1)


def test_judge_much_worse_model_is_refused_on_both_sets(shop):
    champion = shop.crown(shop.candidate("old", GOOD))
    found = refused(shop.judge(shop.candidate("new", 1.5, seed=2), champion))
    assert {"held out today", "held out then", "held out today, graded"} <= set(found)


@pytest.mark.parametrize(("noise", "scale"), [(GOOD, 1.0), (1.5, 1.0), (30.0, 1.0), (GOOD, 0.05)])
def test_judge_margin_is_below_nothing_where_a_row_refuses_and_nowhere_else(shop, noise, scale):
    champion = shop.crown(shop.candidate("old", GOOD))
    candidate = shop.candidate("new", noise, seed=2)
    candidate.user_UD[:60] *= scale > 0.5  # or zero
    verdict = shop.judge(dataclasses.replace(candidate, item_ID=candidate.item_ID * scale), champion)
    margins = {row.name: (row.margin < 0, row.verdict == "refused") for row in verdict.rows if row.margin is not None}
    assert {"held out today", "held out then, graded", "coverage@20", "popularity", "item-knn"} <= set(margins)
    assert {"zero vectors", "median item norm"} <= set(margins)
    assert all(below == is_refused for below, is_refused in margins.values())


def test_judge_margin_of_the_same_vectors_is_what_may_be_lost(shop):
    one = shop.candidate("old", GOOD)
    margins = {
        name: row.margin
        for name, row in rows(shop.judge(dataclasses.replace(one, run_id="new"), shop.crown(one))).items()
    }
    assert (margins["held out today"], margins["coverage@20"]) == (0.02, 0.5)
    assert (margins["zero vectors"], margins["detectable fall"]) == (pytest.approx(0.05), None)


def test_judge_half_a_catalogue_is_compared_on_the_items_both_know(shop):
    """Fewer items are easier: by its own figures the worse model of half a catalogue looks better."""
    old, half = shop.candidate("old", GOOD), shop.candidate("half", 0.75, seed=2, num_items=NUM_ITEMS // 2)
    champion = shop.crown(old)
    own_value = shop.judge(old, None).value
    verdict = shop.judge(half, champion)
    assert verdict.value > own_value
    assert verdict.verdict == "refused"
    assert f"{NUM_ITEMS // 2:,} items" in rows(verdict)["held out today"].note
    assert rows(verdict)["held out today"].figure < -0.05


def test_judge_full_catalogue_after_half_a_one_passes(shop):
    """The other way round: the champion of half a catalogue no longer refuses every good night."""
    champion = shop.crown(shop.candidate("half", GOOD, num_items=NUM_ITEMS // 2))
    good = shop.candidate("new", GOOD, seed=2)
    assert shop.judge(good, champion).value < shop.judge(shop.candidate("half", GOOD, num_items=120), None).value
    assert shop.judge(good, champion).verdict == "passed"


def test_judge_shuffled_interactions_are_refused_by_what_was_held_out_then(shop):
    champion = shop.crown(shop.candidate("old", GOOD))
    verdict = shop.judge(shop.candidate("new", GOOD, seed=2, shuffled=True), champion)
    assert "held out then" in refused(verdict)
    assert rows(verdict)["held out then"].interval[1] < -0.3


def test_judge_pairs_that_either_was_trained_on_are_left_out(shop):
    """With another split seed most of what one holds out the other was trained on."""
    champion = shop.crown(shop.candidate("old", GOOD))
    same = rows(shop.judge(shop.candidate("new", GOOD, seed=2), champion))["held out today"].note
    shop.split = SplitConfig(seed=1)
    other = rows(shop.judge(shop.candidate("new", GOOD, seed=2), champion))["held out today"].note
    assert int(other.split(" pairs")[0].split()[-1].replace(",", "")) < 0.4 * int(
        same.split(" pairs")[0].split()[-1].replace(",", "")
    )


def test_judge_first_night_has_the_rows_that_need_no_champion(shop):
    verdict = shop.judge(shop.candidate("new", GOOD), None)
    assert list(rows(verdict)) == ["finite vectors", "zero vectors", "popularity", "item-knn", "new items"]
    assert (verdict.verdict, verdict.champion) == ("passed", None)
    assert 0 < verdict.value < 1


def test_judge_model_below_popularity_and_neighbours_is_refused(shop):
    verdict = shop.judge(shop.candidate("new", 30.0), None)
    assert refused(verdict) == ["popularity", "item-knn"]
    assert shop.judge(shop.candidate("new", 30.0), None, baselines=()).verdict == "passed"


def test_judge_more_items_than_item_knn_may_hold_is_not_judged_by_it_and_says_so(shop, monkeypatch):
    monkeypatch.setattr(yardsticks, "MOST_ITEMS", NUM_ITEMS - 1)
    monkeypatch.setattr(yardsticks, "item_knn", lambda *_: pytest.fail("items x items were held"))
    row = rows(shop.judge(shop.candidate("new", GOOD), None))["item-knn"]
    assert (row.verdict, row.figure) == ("not judged", None)
    assert f"more than {NUM_ITEMS - 1} items" in row.note


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("side", ["user_UD", "item_ID"])
def test_judge_vectors_that_are_not_finite_are_refused_before_anything_else(shop, side, value):
    candidate = shop.candidate("new", GOOD)
    getattr(candidate, side)[3, 2] = value
    verdict = shop.judge(candidate, shop.crown(shop.candidate("old", GOOD)))
    assert (refused(verdict), len(verdict.rows), verdict.rows[0].figure) == (["finite vectors"], 1, 1)


def test_judge_norms_that_have_collapsed_are_refused(shop):
    champion = shop.crown(shop.candidate("old", GOOD))
    small = shop.candidate("new", GOOD, seed=2)
    assert refused(shop.judge(dataclasses.replace(small, item_ID=small.item_ID * 0.05), champion)) == [
        "median item norm"
    ]
    assert not refused(shop.judge(dataclasses.replace(small, item_ID=small.item_ID * 0.2), champion))


@pytest.mark.parametrize("with_champion", [True, False])
def test_judge_vectors_of_zeros_are_refused(shop, with_champion):
    champion = shop.crown(shop.candidate("old", GOOD)) if with_champion else None
    candidate = shop.candidate("new", GOOD, seed=2)
    candidate.user_UD[: NUM_USERS if champion is None else 60] = 0
    assert "zero vectors" in refused(shop.judge(candidate, champion))


def test_judge_one_list_for_everybody_has_collapsed_coverage(shop):
    champion = shop.crown(shop.candidate("old", GOOD))
    candidate = shop.candidate("new", GOOD, seed=2)
    candidate.user_UD[:] = candidate.user_UD.mean(0)
    assert "coverage@20" in refused(shop.judge(candidate, champion))


@pytest.mark.parametrize(("noise", "expected"), [(GOOD, "passed"), (50.0, "refused")])
def test_judge_new_items_are_ranked_among_themselves(tmp_path, noise, expected):
    shop = Shop(tmp_path, split=SplitConfig(strategy="cold-items", validation=0.2, test=0.2))
    candidate = shop.candidate("new", GOOD, has_content=True)
    new_I = shop.candidate("noisy", noise, seed=5).item_ID
    if noise > GOOD:  # worse than chance: what is near is put far
        new_I = -candidate.item_ID
    assert rows(shop.judge(dataclasses.replace(candidate, item_ID=new_I), None))["new items"].verdict == expected


def test_judge_cold_items_compete_only_among_those_nobody_was_trained_on(tmp_path):
    shop = Shop(tmp_path, split=SplitConfig(strategy="cold-items", validation=0.2, test=0.2))
    champion = shop.crown(shop.candidate("old", GOOD, has_content=True))
    verdict = shop.judge(shop.candidate("new", GOOD, seed=2, has_content=True), champion)
    assert verdict.verdict == "passed"
    assert rows(verdict)["popularity"].verdict == "not judged"
    assert rows(verdict)["coverage@20"].figure == pytest.approx(1, abs=0.05)


def test_judge_without_held_out_part_is_not_judged_and_says_so(tmp_path):
    shop = Shop(tmp_path, split=SplitConfig(strategy="none"))
    champion = shop.crown(shop.candidate("old", GOOD))
    verdict = shop.judge(shop.candidate("new", 5.0, seed=2), champion)
    assert (verdict.verdict, verdict.value) == ("passed", None)
    assert rows(verdict)["held out today"].verdict == "not judged"
    assert "holds nothing out" in rows(verdict)["held out today"].note


def test_judge_ids_that_have_nothing_in_common_are_refused(shop):
    champion = shop.crown(shop.candidate("old", GOOD))
    candidate = shop.candidate("new", GOOD, seed=2)
    ids = {"users": candidate.users + "-b"}
    dataset = dataclasses.replace(candidate.dataset, users=candidate.dataset.users.with_columns(ids["users"]))
    verdict = shop.judge(dataclasses.replace(candidate, dataset=dataset, **ids), champion)
    assert "were ids changed" in rows(verdict)["held out today"].note
    assert refused(verdict) == ["held out today"]


def test_judge_champion_whose_dataset_is_gone_is_compared_on_what_is_held_out_today(shop):
    champion = shop.crown(shop.candidate("old", GOOD))
    shutil.rmtree(shop.config.open_store().run("old"))
    verdict = rows(shop.judge(shop.candidate("new", GOOD, seed=2), champion))
    assert "the dataset of run old is gone" in verdict["held out today"].note
    assert "which favours it" in verdict["held out today"].note
    assert verdict["held out then"].verdict == "not judged"


def test_judge_champion_that_began_again_is_compared_on_what_it_was_trained_on(shop):
    """Its first beginning, on other input, is no longer what its release stands on."""
    store = shop.config.open_store()
    champion = shop.crown(shop.candidate("old", GOOD, num_items=60))
    shutil.rmtree(store.release("old"))
    store.generation("old").write_text('{"generation": 2}')
    champion = shop.crown(shop.candidate("old", GOOD), generation=2)
    verdict = rows(shop.judge(shop.candidate("new", GOOD, seed=2), champion))
    assert verdict["held out today"].note.endswith("500 users, 1,000 pairs, 240 items")
    assert verdict["held out then"].note.endswith("500 users, 1,000 pairs, 240 items")


def test_judge_champion_whose_release_is_gone_says_how_to_begin_anew(shop):
    gone = Champion(run_id="gone", digest="d", model_name="microrec", model_version="1", previous=None)
    with pytest.raises(StoreError, match=r"release .*gone is gone.*delete .*champion\.json"):
        shop.judge(shop.candidate("new", GOOD), gone)


def test_judge_slide_in_small_steps_is_refused_by_the_best_of_the_last(shop):
    """Each step is within its error; the last one is far below the first champion."""
    champion = None
    for step, noise in enumerate((0.1, 0.16, 0.22, 0.27)):
        champion = shop.crown(shop.candidate(f"step-{step}", noise, seed=1), champion)
    last = shop.candidate("last", 0.3, seed=1)
    assert shop.judge(last, champion, previous_champions=0).verdict == "passed"
    verdict = shop.judge(last, champion)
    assert set(refused(verdict)) <= {"best of the last champions", "best of the last champions, graded"}
    assert verdict.verdict == "refused"
    assert verdict.previous == ["step-2", "step-1", "step-0"]


def test_judge_previous_release_that_is_gone_or_damaged_is_passed_over(shop):
    first = shop.crown(shop.candidate("first", GOOD))
    second = shop.crown(shop.candidate("second", GOOD, seed=2), first)
    champion = shop.crown(shop.candidate("third", GOOD, seed=3), second)
    store: Store = shop.config.open_store()
    shutil.rmtree(store.release("first"))
    part = store.release("second") / "user_vectors/part-00000.parquet"
    part.write_bytes(b"PAR1")
    verdict = shop.judge(shop.candidate("new", GOOD, seed=4), champion)
    assert verdict.previous == ["second"]
    assert rows(verdict)["best of the last champions"].verdict == "not judged"


def test_judge_draws_no_more_users_than_asked_and_always_the_same(shop):
    champion = shop.crown(shop.candidate("old", GOOD))
    candidate = shop.candidate("new", GOOD, seed=2)
    some, again = (rows(shop.judge(candidate, champion, max_users=100))["held out today"] for _ in range(2))
    assert some == again
    assert "100 users" in some.note


def test_judge_few_users_are_not_judged(shop):
    champion = shop.crown(shop.candidate("old", GOOD))
    verdict = rows(shop.judge(shop.candidate("new", 5.0, seed=2), champion, max_users=29))
    assert "30 users are needed" in verdict["held out today"].note
    assert {verdict[name].verdict for name in ("held out today", "coverage@20", "popularity")} == {"not judged"}


def test_judge_detectable_fall_shrinks_with_users(shop):
    champion = shop.crown(shop.candidate("old", GOOD))
    candidate = shop.candidate("new", GOOD, seed=2)
    few, many = (
        rows(shop.judge(candidate, champion, max_users=count))["detectable fall"].figure for count in (60, NUM_USERS)
    )
    assert few < many < -0.02


def test_judge_ids_as_numbers_and_as_text_are_the_same_users(shop):
    champion = shop.crown(shop.candidate("old", GOOD))
    candidate = shop.candidate("new", GOOD, seed=2)
    assert candidate.users.dtype == candidate.dataset.users["user_id"].dtype
    assert torch.isfinite(candidate.user_UD).all()
    assert np.isfinite(rows(shop.judge(candidate, champion))["held out today"].figure)
