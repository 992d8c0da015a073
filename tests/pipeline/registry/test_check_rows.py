"""Each kind of row by itself: what passes, what is refused, what cannot be compared."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.dataset.records import InputCounts
from pipeline.registry.check_rows import compare, floors
from pipeline.registry.checks import ChecksConfig, MaxFallsConfig

THEN = InputCounts(
    items=1000,
    users=500,
    interactions=20_000,
    dropped=0.1,
    usable={"image": 900, "text": 990},
    item_values={"title": 990, "image_path": 950},
    interaction_values={"rating": 21_000, "timestamp": 21_000},
    last_timestamp="2026-11-28T10:00:00+00:00",
)


def ask(now=THEN, then=THEN, *, accept_change=False, **settings):
    """The rows by name."""
    return {row.name: row for row in compare(ChecksConfig(**settings), now, then, accept_change=accept_change)}


def unlike(now, then=THEN, **settings):
    """Names of the rows that are not ok."""
    return {name for name, row in ask(now, then, **settings).items() if row.verdict != "ok"}


def test_compare_the_same_again_is_ok_in_every_row():
    rows = ask()
    assert {row.verdict for row in rows.values()} == {"ok"}
    assert list(rows) == [
        *("items", "users", "interactions", "image, usable", "text, usable", "interactions dropped"),
        *("items, image_path", "items, title", "interactions, rating", "interactions, timestamp", "last timestamp"),
    ]


@pytest.mark.parametrize(("name", "lowest"), [("items", 900), ("users", 450), ("interactions", 18_000)])
def test_compare_count_falls_by_more_than_allowed_is_refused(name, lowest):
    # The share of items with content stays.
    usable = {key: count * lowest // 1000 for key, count in THEN.usable.items()} if name == "items" else THEN.usable
    assert ask(replace(THEN, **{name: lowest}, usable=usable))[name].verdict == "ok"
    row = ask(replace(THEN, **{name: lowest - 1}))[name]
    assert (row.verdict, row.allowed) == ("refused", f"at least {lowest:,}")
    assert (row.then, row.now) == (f"{getattr(THEN, name):,}", f"{lowest - 1:,}")


@pytest.mark.parametrize("name", ["items", "users", "interactions"])
def test_compare_count_with_an_allowance_of_its_own_is_judged_by_it(name):
    less = replace(THEN, **{name: getattr(THEN, name) // 2})
    assert ask(less, max_falls=MaxFallsConfig(**{name: 0.5}))[name].verdict == "ok"
    assert ask(less, max_fall=0.5, max_falls=MaxFallsConfig(**{name: 0.0}))[name].verdict == "refused"


@pytest.mark.parametrize("modality", ["image", "text"])
def test_compare_share_of_usable_content_falls_is_refused_for_its_modality_only(modality):
    just, below = ({**THEN.usable, modality: THEN.usable[modality] - lost} for lost in (50, 51))
    assert unlike(replace(THEN, usable=just)) == set()
    assert unlike(replace(THEN, usable=below)) == {f"{modality}, usable"}
    assert ask(replace(THEN, usable=below))[f"{modality}, usable"].allowed.startswith("at least ")


def test_compare_modality_that_goes_empty_is_refused_however_few_had_content():
    few, none = replace(THEN, usable={"image": 3}), replace(THEN, usable={"image": 0})
    row = ask(none, few)["image, usable"]
    assert (row.then, row.now, row.allowed, row.verdict) == ("0.30%", "0.00%", "more than none", "refused")
    assert ask(none, none)["image, usable"].verdict == "ok"


def test_compare_modality_configured_on_one_side_only_is_not_compared():
    now = replace(THEN, usable={"text": 990, "audio": 10})
    rows = ask(now)
    assert (rows["image, usable"].verdict, rows["image, usable"].note) == ("not compared", "no longer configured")
    assert (rows["audio, usable"].verdict, rows["audio, usable"].note) == (
        "not compared",
        "the champion was made without it",
    )


def test_compare_share_dropped_rises_by_more_than_allowed_is_refused():
    assert unlike(replace(THEN, dropped=0.2)) == set()
    row = ask(replace(THEN, dropped=0.21))["interactions dropped"]
    assert (row.then, row.now, row.allowed, row.verdict) == ("10.00%", "21.00%", "at most 20.00%", "refused")


@pytest.mark.parametrize(("table", "column"), [("item", "title"), ("item", "image_path"), ("interaction", "rating")])
def test_compare_column_that_went_empty_is_refused(table, column):
    values = {**getattr(THEN, f"{table}_values"), column: 0}
    assert unlike(replace(THEN, **{f"{table}_values": values})) == {f"{table}s, {column}"}


def test_compare_column_of_interactions_that_is_gone_is_empty():
    row = ask(replace(THEN, interaction_values={"timestamp": 21_000}))["interactions, rating"]
    assert (row.then, row.now, row.verdict) == ("21,000", "0", "refused")


def test_compare_column_that_no_modality_names_any_more_is_not_compared():
    row = ask(replace(THEN, item_values={"title": 990}))["items, image_path"]
    assert (row.verdict, row.note) == ("not compared", "no longer configured")


def test_compare_column_that_was_empty_before_may_stay_so():
    empty = replace(THEN, item_values={"title": 0})
    assert ask(empty, empty)["items, title"].verdict == "ok"


@pytest.mark.parametrize(
    ("then", "now", "verdict"),
    [
        ("2026-11-28T10:00:00+00:00", "2026-11-28T10:00:00+00:00", "ok"),
        ("2026-11-28T10:00:00+00:00", "2026-11-29T09:00:00+00:00", "ok"),
        ("2026-11-28T10:00:00+00:00", "2026-11-28T09:59:59+00:00", "refused"),
        ("2026-11-28T10:00:00+00:00", "2026-11-28T11:00:00+02:00", "refused"),
        ("2026-11-28T10:00:00", "2026-11-28T10:00:00+00:00", "ok"),
        ("2026-11-28", "2026-11-27", "refused"),
        (1000, 999, "refused"),
        (1000, 1000.5, "ok"),
        (1000, "2026-11-27", "not compared"),
        (None, "2026-11-27", "not compared"),
        (1000, None, "refused"),
    ],
)
def test_compare_last_timestamp_may_not_be_earlier(then, now, verdict):
    row = ask(replace(THEN, last_timestamp=now), replace(THEN, last_timestamp=then))["last timestamp"]
    assert row.verdict == verdict


def test_compare_trial_on_fewer_users_compares_only_what_users_do_not_change():
    trial = replace(THEN, user_share=0.1, users=50, interactions=2000, dropped=0.5)
    rows = ask(trial)
    left_out = {name for name, row in rows.items() if row.verdict == "not compared"}
    assert left_out == {"users", "interactions", "interactions dropped"}
    assert rows["users"].note == "a trial on 10% of the users"
    assert unlike(replace(trial, items=500)) - left_out == {"items"}


def test_compare_whole_night_after_a_trial_champion_is_compared():
    assert ask(replace(THEN, users=100), replace(THEN, user_share=0.5))["users"].verdict == "refused"


def test_compare_champion_of_an_earlier_version_compares_what_it_recorded():
    earlier = InputCounts(items=1000, users=500, interactions=20_000, usable={"image": 900})
    rows = ask(THEN, earlier)
    compared = {name for name, row in rows.items() if row.verdict == "ok"}
    assert compared == {"items", "users", "interactions", "image, usable"}
    notes = {row.note for name, row in rows.items() if name not in {*compared, "text, usable"}}
    assert notes == {"the champion's version did not record it"}


def test_compare_accepted_change_is_accepted_where_it_would_be_refused_only():
    rows = ask(replace(THEN, items=500), accept_change=True)
    assert rows["items"].verdict == "accepted"
    assert rows["users"].verdict == "ok"


SHARES = st.floats(0, 1)


@given(
    items=st.integers(1, 10**7),
    users=st.integers(1, 10**7),
    interactions=st.integers(1, 10**9),
    growth=st.tuples(*[st.floats(1, 3)] * 3),
    share=SHARES,
    dropped=SHARES,
    falls=st.tuples(SHARES, SHARES, SHARES),
)
def test_compare_shop_that_grows_is_never_refused(items, users, interactions, growth, share, dropped, falls):
    usable = int(items * share)
    then = InputCounts(
        items=items,
        users=users,
        interactions=interactions,
        dropped=dropped,
        usable={"text": usable},
        item_values={"title": usable},
        interaction_values={"rating": interactions},
        last_timestamp=1000,
    )
    now_items = int(items * growth[0])
    now = InputCounts(
        items=now_items,
        users=int(users * growth[1]),
        interactions=int(interactions * growth[2]),
        dropped=dropped / growth[2],
        usable={"text": -(-usable * now_items // items)},
        item_values={"title": -(-usable * now_items // items)},
        interaction_values={"rating": int(interactions * growth[2])},
        last_timestamp=1001,
    )
    settings = ChecksConfig(max_fall=falls[0], max_content_fall=falls[1], max_dropped_rise=falls[2])
    assert {row.verdict for row in compare(settings, now, then)} == {"ok"}


@given(before=st.integers(1, 10**9), count=st.integers(0, 10**9), fall=SHARES)
def test_compare_count_is_refused_just_where_the_relative_fall_is_larger(before, count, fall):
    row = ask(replace(THEN, interactions=count), replace(THEN, interactions=before), max_fall=fall)["interactions"]
    if abs(count - before * (1 - fall)) > 1e-5:  # at the limit itself, floats decide
        assert (row.verdict == "ok") == (count >= before * (1 - fall))


@pytest.mark.parametrize(("key", "count"), [("min_items", 1000), ("min_users", 500), ("min_interactions", 20_000)])
def test_floors_count_below_its_floor_is_refused(key, count):
    [reached] = floors(ChecksConfig(**{key: count}), THEN)
    [missed] = floors(ChecksConfig(**{key: count + 1}), THEN)
    assert (reached.verdict, missed.verdict) == ("ok", "refused")
    assert (missed.then, missed.now, missed.allowed) == ("–", f"{count:,}", f"at least {count + 1:,}")


def test_floors_not_set_give_no_row():
    assert list(floors(ChecksConfig(), THEN)) == []


@pytest.mark.parametrize(
    ("now", "name", "margin"),
    [
        ({"items": 950}, "items", 0.05),
        ({"users": 400}, "users", -0.1),
        ({"usable": {"image": 870, "text": 990}}, "image, usable", 0.02),
        ({"dropped": 0.15}, "interactions dropped", 0.05),
    ],
)
def test_compare_margin_is_the_share_that_may_still_go(now, name, margin):
    assert ask(replace(THEN, **now))[name].margin == pytest.approx(margin)


def test_compare_modality_that_goes_empty_has_a_margin_below_nothing():
    few, none = replace(THEN, usable={"image": 3}), replace(THEN, usable={"image": 0})
    assert ask(none, few)["image, usable"].margin == pytest.approx(-0.003)
    assert ask(none, none)["image, usable"].margin == 0


def test_floors_margin_is_relative_to_the_floor():
    [row] = floors(ChecksConfig(min_items=800), THEN)
    assert row.margin == pytest.approx(0.25)
