"""The drift table against loops over the items, and on vectors with a known answer."""

import numpy as np
import pytest

import pipeline.release.drift
from pipeline.release.drift import Known, measure_drift

NUM_ITEMS, NUM_USERS, DIM = 70, 30, 6


def make_known(seed=0, noise=0.4, **changes):
    rng = np.random.default_rng(seed)
    items, users = (rng.normal(size=(count, DIM)).astype(np.float32) for count in (NUM_ITEMS, NUM_USERS))
    nearby = [(one + noise * rng.normal(size=one.shape)).astype(np.float32) for one in (items, users)]
    popularity_I = np.arange(NUM_ITEMS)[::-1] // 2  # the last two have none
    seen = np.arange(NUM_USERS).repeat(3), rng.integers(0, NUM_ITEMS, 3 * NUM_USERS)
    known = {
        "items": (items, nearby[0]),
        "users": (users, nearby[1]),
        "popularity_I": popularity_I,
        "content_only_I": popularity_I == 0,
        "seen": seen,
    }
    return Known(**{**known, **changes})


def naive_neighbours(vector_ID, item):
    unit = vector_ID / np.linalg.norm(vector_ID, axis=1, keepdims=True)
    order = sorted(set(range(NUM_ITEMS)) - {item}, key=lambda other: -float(unit[item] @ unit[other]))
    return set(order[:20])


def naive_list(user_D, vector_ID, seen):
    return set(sorted(set(range(NUM_ITEMS)) - seen, key=lambda item: -float(user_D @ vector_ID[item]))[:20])


def test_measure_drift_equals_loops_over_items_and_users():
    known = make_known()
    rows = measure_drift(known)
    then, now = known.items
    kept = np.array([len(naive_neighbours(then, i) & naive_neighbours(now, i)) / 20 for i in range(NUM_ITEMS)])
    slices = {
        "all": set(range(NUM_ITEMS)),
        "head": set(range(14)),  # a fifth of 68
        "tail": set(range(14, 68)),
        "content": {68, 69},
    }
    listed = []
    for user in range(NUM_USERS):
        seen = set(known.seen[1][known.seen[0] == user].tolist())
        lists = [naive_list(known.users[side][user], known.items[side], seen) for side in (0, 1)]
        listed += [(item, item in lists[1]) for item in lists[0]]
    cosine = (then * now).sum(1) / np.linalg.norm(then, axis=1) / np.linalg.norm(now, axis=1)
    for name, items in slices.items():
        row, of_slice = rows[name], sorted(items)
        assert (row.count, row.drawn) == (len(items), len(items))
        assert row.neighbours_kept == pytest.approx(kept[of_slice].mean())
        stayed = [still for item, still in listed if item in items]
        assert row.recommendations_kept == pytest.approx(np.mean(stayed))
        assert row.cosine_median == pytest.approx(np.median(cosine[of_slice]), abs=1e-6)
        assert row.cosine_tail == pytest.approx(np.quantile(cosine[of_slice], 0.05), abs=1e-6)
    lengths = [np.linalg.norm(side, axis=1).mean() for side in known.users]
    assert rows["users"].norm_ratio == pytest.approx(lengths[1] / lengths[0])
    assert rows["users"].recommendations_kept == rows["all"].recommendations_kept


def test_measure_drift_of_the_same_vectors_keeps_all_and_twice_the_length_is_told():
    known = make_known()
    items, users = known.items[0], known.users[0]
    rows = measure_drift(make_known(items=(items, 2 * items), users=(users, users)))
    for row in rows.values():
        assert row.cosine_median == pytest.approx(1)
        assert row.recommendations_kept == 1
    assert (rows["all"].neighbours_kept, rows["all"].norm_ratio) == (1, pytest.approx(2))
    assert rows["users"].norm_ratio == pytest.approx(1)


def test_measure_drift_of_large_catalogues_draws_the_same_ids_each_time(monkeypatch):
    monkeypatch.setattr(pipeline.release.drift, "MOST_DRAWN", 10)
    known = make_known()
    rows = measure_drift(known)
    assert (rows["all"].count, rows["all"].drawn, rows["users"].drawn) == (NUM_ITEMS, 10, 10)
    assert rows == measure_drift(known)
    monkeypatch.setattr(pipeline.release.drift, "MOST_PRODUCTS", 4 * NUM_ITEMS * DIM)
    assert measure_drift(known)["all"].drawn == 4


def test_measure_drift_blocks_of_scores_do_not_change_it(monkeypatch):
    known = make_known()
    whole = measure_drift(known)
    monkeypatch.setattr(pipeline.release.drift, "BLOCK_ELEMENTS", 3 * NUM_ITEMS)
    assert measure_drift(known) == whole


@pytest.mark.parametrize("count", [0, 1, 2])
def test_measure_drift_of_next_to_nothing_has_rows_without_figures(count):
    known = make_known()
    few = {
        "items": tuple(side[:count] for side in known.items),
        "users": tuple(side[:count] for side in known.users),
        "popularity_I": known.popularity_I[:count],
        "content_only_I": known.content_only_I[:count],
        "seen": (np.arange(0), np.arange(0)),
    }
    rows = measure_drift(make_known(**few))
    assert rows["all"].count == count
    assert (rows["all"].neighbours_kept is None) == (count < 2)
    assert (rows["users"].recommendations_kept is None) == (count == 0)
