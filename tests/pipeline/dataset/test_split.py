from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from pipeline.columns import ITEM_ID, SPLIT, TEST, TIMESTAMP, TRAIN, USER_ID, VALIDATION
from pipeline.dataset.split import SplitConfig, split_interactions
from pipeline.errors import InputError


def interactions(counts):
    rows = [(f"u{user:02d}", f"i{item:02d}") for user, count in enumerate(counts) for item in range(count)]
    start = datetime(2026, 1, 1, tzinfo=UTC)
    times = [start + timedelta(hours=(7 * place) % len(rows)) for place in range(len(rows))]
    return (
        pl.DataFrame(rows, schema=[USER_ID, ITEM_ID], orient="row")
        .with_columns(pl.Series(TIMESTAMP, times))
        .sort(USER_ID, ITEM_ID)
    )


def parts_of(split, user):
    counts = dict(split.filter(pl.col(USER_ID) == user)[SPLIT].value_counts().iter_rows())
    return tuple(counts.get(part, 0) for part in (TRAIN, VALIDATION, TEST))


def test_split_random_shares_per_user_and_one_each_for_light_users():
    split = split_interactions(interactions([1, 2, 3, 9, 10, 25, 40]), SplitConfig())
    got = [parts_of(split, f"u{user:02d}") for user in range(7)]
    assert got == [(1, 0, 0), (1, 0, 1), (1, 1, 1), (7, 1, 1), (8, 1, 1), (21, 2, 2), (32, 4, 4)]


@pytest.mark.parametrize("strategy", ["random", "cold-items"])
def test_split_same_seed_same_split_other_seed_another(strategy):
    table = interactions([30] * 5)
    first, again = (split_interactions(table, SplitConfig(strategy=strategy, seed=3)) for _ in range(2))
    assert first.equals(again)
    assert not first.equals(split_interactions(table, SplitConfig(strategy=strategy, seed=4)))


@pytest.mark.parametrize("strategy", ["random", "cold-items"])
def test_split_new_rows_leave_the_draws_of_the_others(strategy):
    """Nothing moves from training to held-out but what the new rows entitle a user (or the catalogue) to."""
    config = SplitConfig(strategy=strategy)
    grown = interactions([28] * 40)
    before = grown.filter(pl.col(ITEM_ID) != "i05")  # 27 each, and the same two of ten held out after
    joined = split_interactions(before, config).join(
        split_interactions(grown, config), on=[USER_ID, ITEM_ID], suffix="_after"
    )
    assert joined.filter((pl.col(SPLIT) == TRAIN) & (pl.col(f"{SPLIT}_after") != TRAIN)).is_empty()
    assert (joined[SPLIT] == joined[f"{SPLIT}_after"]).mean() > 0.9


@pytest.mark.parametrize(
    ("strategy", "drawn"), [("random", [USER_ID, ITEM_ID]), ("cold-items", [ITEM_ID])], ids=["random", "cold-items"]
)
def test_split_through_thirty_nights_nothing_trained_on_is_held_out(strategy, drawn):
    """Each night has more interactions and items; by the draws alone some would leave training."""
    config, table = SplitConfig(strategy=strategy), interactions([60] * 120)
    arrival = pl.Series(np.random.default_rng(0).permutation(len(table)))
    later = {f"i{item:02d}": item - 29 for item in range(30, 60)}  # the night at which an item comes
    comes = table[ITEM_ID].replace_strict(later, default=0)
    trained, would_move = None, 0
    for night in range(30):
        tonight = table.filter((arrival < len(table) * (10 + night) // 60) & (comes <= night))
        drawn_anew, split = split_interactions(tonight, config), split_interactions(tonight, config, trained)
        if trained is not None:
            would_move += len(held_out(drawn_anew).join(trained, on=drawn))
            assert held_out(split).join(trained, on=drawn).is_empty()
        trained = split.filter(pl.col(SPLIT) == TRAIN).select(USER_ID, ITEM_ID)
    assert would_move > 0
    parts = dict(split[SPLIT].value_counts().iter_rows())
    plain = dict(drawn_anew[SPLIT].value_counts().iter_rows())
    assert parts == pytest.approx(plain, rel=0.05)


def held_out(split):
    return split.filter(pl.col(SPLIT) != TRAIN)


def test_split_ids_that_became_numbers_are_the_same_and_given_parts_stay():
    table = interactions([20] * 10)
    trained = table.select(pl.col(USER_ID), pl.col(ITEM_ID).str.tail(2).cast(pl.Int64).cast(pl.String))
    table = table.with_columns(pl.col(ITEM_ID).str.tail(2).cast(pl.Int64))
    assert set(split_interactions(table, SplitConfig(), trained)[SPLIT]) == {TRAIN}
    given = table.with_columns(pl.lit(TEST).alias(SPLIT)).with_columns(
        pl.when(pl.int_range(pl.len()) == 0).then(pl.lit(TRAIN)).otherwise(SPLIT).alias(SPLIT)
    )
    assert split_interactions(given, SplitConfig(strategy="given"), trained).equals(given)


@pytest.mark.parametrize("strategy", ["random", "cold-items"])
def test_split_nothing_is_held_out_where_all_was_trained_on(strategy):
    table = interactions([20] * 10)
    config = SplitConfig(strategy=strategy)
    assert set(split_interactions(table, config, table.select(USER_ID, ITEM_ID))[SPLIT]) == {TRAIN}


@pytest.mark.parametrize("part", [VALIDATION, TEST])
def test_split_a_part_of_0_stays_empty_beside_what_was_trained_on(part):
    table = interactions([20] * 10)
    config = SplitConfig(**{"validation" if part == VALIDATION else "test": 0.0})
    split = split_interactions(table, config, table.select(USER_ID, ITEM_ID).filter(pl.col(ITEM_ID) > "i05"))
    assert part not in set(split[SPLIT])
    assert held_out(split)[ITEM_ID].max() <= "i05"


def test_split_user_with_nothing_new_keeps_what_was_held_out_and_trains_on_one():
    """Of u00's five, three were trained on; u01 is new and keeps one of two for training."""
    table, config = interactions([5, 2]), SplitConfig(validation=0.3, test=0.3)
    trained = table.filter((pl.col(USER_ID) == "u00") & ~pl.col(ITEM_ID).is_in(["i01", "i03"])).select(USER_ID, ITEM_ID)
    split = split_interactions(table, config, trained)
    assert sorted(held_out(split).filter(pl.col(USER_ID) == "u00")[ITEM_ID]) == ["i01", "i03"]
    assert (parts_of(split, "u00"), parts_of(split, "u01")) == ((3, 1, 1), (1, 0, 1))


def test_split_random_held_out_places_are_uniform():
    split = split_interactions(interactions([20] * 400), SplitConfig())
    per_item = split.filter(pl.col(SPLIT) == TEST).group_by(ITEM_ID).len()
    assert len(per_item) == 20
    assert per_item["len"].is_between(15, 70).all()  # 40 expected, five standard deviations of 6


def test_split_random_no_shares_leaves_all_in_training():
    split = split_interactions(interactions([5, 5]), SplitConfig(validation=0.0, test=0.0))
    assert set(split[SPLIT]) == {TRAIN}


def test_split_time_no_training_moment_after_a_held_out_one():
    split = split_interactions(interactions([30, 30, 40]), SplitConfig(strategy="time"))
    latest = dict(split.group_by(SPLIT).agg(pl.col(TIMESTAMP).max()).iter_rows())
    earliest = dict(split.group_by(SPLIT).agg(pl.col(TIMESTAMP).min()).iter_rows())
    assert latest[TRAIN] < earliest[VALIDATION]
    assert latest[VALIDATION] < earliest[TEST]
    counts = dict(split[SPLIT].value_counts().iter_rows())
    assert counts == {TRAIN: 80, VALIDATION: 10, TEST: 10}


def test_split_time_one_moment_is_never_divided():
    table = interactions([20, 20]).with_columns(pl.lit(datetime(2026, 1, 1, tzinfo=UTC)).alias(TIMESTAMP))
    with pytest.raises(InputError, match="left no interaction for training"):
        split_interactions(table, SplitConfig(strategy="time"))


def test_split_time_missing_timestamp_is_refused():
    with pytest.raises(InputError, match="needs a 'timestamp'"):
        split_interactions(interactions([3]).drop(TIMESTAMP), SplitConfig(strategy="time"))


def test_split_cold_items_no_item_in_two_parts():
    split = split_interactions(interactions([40, 40, 20]), SplitConfig(strategy="cold-items"))
    per_item = split.group_by(ITEM_ID).agg(pl.col(SPLIT).n_unique())
    assert per_item[SPLIT].max() == 1
    items = {part: set(split.filter(pl.col(SPLIT) == part)[ITEM_ID]) for part in (VALIDATION, TEST)}
    assert {part: len(ids) for part, ids in items.items()} == {VALIDATION: 4, TEST: 4}


def test_split_given_numbers_are_refused_with_what_is_expected():
    table = interactions([2]).with_columns(pl.Series(SPLIT, [0, 1]))
    with pytest.raises(InputError, match="expected train, validation or test as text, got Int64"):
        split_interactions(table, SplitConfig(strategy="given"))


def test_split_given_column_is_taken_and_other_values_refused():
    table = interactions([2]).with_columns(pl.Series(SPLIT, [TRAIN, TEST]))
    assert split_interactions(table, SplitConfig(strategy="given"))[SPLIT].to_list() == [TRAIN, TEST]
    with pytest.raises(InputError, match=r"1 rows hold other values .* 'holdout'"):
        split_interactions(table.with_columns(pl.Series(SPLIT, [TRAIN, "holdout"])), SplitConfig(strategy="given"))
    with pytest.raises(InputError, match="needs a column 'split'"):
        split_interactions(interactions([2]), SplitConfig(strategy="given"))


def test_split_none_everything_is_training():
    assert set(split_interactions(interactions([4, 4]), SplitConfig(strategy="none"))[SPLIT]) == {TRAIN}
