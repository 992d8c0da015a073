import pytest

from pipeline.experiments.compare.search import at_edge, next_choice


def searched(steps, start, value_of, most=100):
    """Try what is proposed until nothing is; return the best and all that was tried."""
    tried = [dict(one) for one in start]
    for _ in range(most):
        proposed = next_choice(steps, max(tried, key=value_of), tried)
        if proposed is None:
            break
        assert proposed not in tried
        tried.append(proposed)
    return max(tried, key=value_of), tried


@pytest.mark.parametrize("place", [0.003, 0.3, 1.0, 47.0, 2000.0])
def test_next_choice_finds_a_maximum_wherever_it_lies_to_within_the_factor(place):
    best, tried = searched({"l2": 2.0}, [{"l2": 1.0}, {"l2": 10.0}], lambda one: -abs(one["l2"] / place - 1))
    assert place / 2 <= best["l2"] <= place * 2
    assert at_edge({"l2": 2.0}, best, tried) == []
    others = [one["l2"] for one in tried if one != best]
    assert any(best["l2"] < other <= best["l2"] * 2.001 for other in others)
    assert any(best["l2"] / 2.001 <= other < best["l2"] for other in others)


def test_next_choice_coarse_grid_is_made_finer_around_its_best_alone():
    start = [{"l2": value} for value in (1.0, 100.0, 10_000.0)]
    _, tried = searched({"l2": 2.0}, start, lambda one: -abs(one["l2"] - 100))
    assert [one["l2"] for one in tried[3:]] == [200.0, 50.0]


def test_next_choice_two_numbers_are_searched_from_the_best_of_both():
    def value_of(one):
        return -abs(one["a"] / 8 - 1) - abs(one["b"] * 16 - 1)

    best, tried = searched({"a": 2.0, "b": 2.0}, [{"a": 1.0, "b": 1.0, "kind": "x"}], value_of)
    assert best == {"a": 8.0, "b": 1 / 16, "kind": "x"}
    assert at_edge({"a": 2.0, "b": 2.0}, best, tried) == []


def test_next_choice_looks_at_choices_that_differ_in_nothing_else():
    tried = [{"l2": 1.0, "power": 0.5}, {"l2": 2.0, "power": 0.25}, {"l2": 0.5, "power": 0.25}]
    assert next_choice({"l2": 2.0}, tried[0], tried) == {"l2": 2.0, "power": 0.5}
    assert at_edge({"l2": 2.0}, tried[0], tried) == ["l2 = 1 (highest)", "l2 = 1 (lowest)"]


def test_next_choice_counts_stay_whole_and_end_at_one():
    best, tried = searched({"k": 2.0}, [{"k": 5}], lambda one: -one["k"])
    assert best == {"k": 1}
    assert all(isinstance(one["k"], int) for one in tried)
    assert at_edge({"k": 2.0}, best, tried) == []


def test_next_choice_nothing_is_searched_beside_zero_and_where_there_is_no_number():
    for start in ({"weight": 0.0}, {"weight": None}, {}):
        assert next_choice({"weight": 2.0}, start, [start]) is None
        assert at_edge({"weight": 2.0}, start, [start, {"weight": 3.0}]) == []


@pytest.mark.parametrize(("best", "side"), [(1.0, "lowest"), (9.0, "highest")])
def test_at_edge_names_the_setting_its_value_and_the_side(best, side):
    tried = [{"l2": value} for value in (1.0, 3.0, 9.0)]
    assert at_edge({"l2": 2.0}, {"l2": best}, tried) == [f"l2 = {best:g} ({side})"]


def test_at_edge_setting_that_is_not_searched_has_none():
    assert at_edge({}, {"l2": 1.0}, [{"l2": 1.0}, {"l2": 2.0}]) == []
