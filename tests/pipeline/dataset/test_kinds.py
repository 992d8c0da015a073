import polars as pl
import pytest

from pipeline.dataset.kinds import NO_KIND, EvaluationConfig, kind_numbers, with_kind


def items(kinds):
    return pl.DataFrame({"item_id": [f"i{n}" for n in range(len(kinds))], "type": kinds})


def test_kind_numbers_are_alike_for_the_same_kind_and_none_without():
    table = with_kind(items(["dress", " dress ", None, "", "  ", "Sock", "dress"]), EvaluationConfig(kind="type"))
    first, second, *empty, sock, last = kind_numbers(table).tolist()
    assert first == second == last != sock
    assert empty == [NO_KIND] * 3
    assert NO_KIND not in (first, sock)


@pytest.mark.parametrize(
    "kinds",
    [
        [3, 1, 3],
        [1.5, 2.0, 1.5],
        [True, False, True],
        pl.Series(["a", "b", "a"], dtype=pl.Categorical),
        [["home", "lamps"], ["home"], ["home", "lamps"]],
        [[1, None], [2], [1]],
    ],
)
def test_kind_numbers_of_any_value_or_list(kinds):
    first, second, third = kind_numbers(with_kind(items(kinds), EvaluationConfig(kind="type"))).tolist()
    assert first == third != second


def test_with_kind_nothing_configured_leaves_the_items():
    table = items(["a"])
    assert with_kind(table, EvaluationConfig()).equals(table)
    assert kind_numbers(table) is None


def test_kind_numbers_empty_list_is_no_kind():
    assert (
        kind_numbers(with_kind(items([["a"], [], None]), EvaluationConfig(kind="type"))).tolist()[1:] == [NO_KIND] * 2
    )
