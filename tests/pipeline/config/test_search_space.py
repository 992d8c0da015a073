from pathlib import Path

import pytest

from pipeline.config.config import compose
from pipeline.config.search_space import Range, TuneConfig, decode, distributions, encode, within
from pipeline.documents import flatten
from pipeline.opening import ends

SPACE = {"a": Range(low=1, high=3), "b": Range(low=0.5, high=4.0, log=True), "c": ("x", ["y", "z"])}


@pytest.fixture
def default():
    return compose({"catalogue": {"items": "items.parquet", "interactions": ["x.parquet"]}}, base=Path())


def test_default_space_is_valid_at_its_ends_and_holds_the_defaults(default):
    space = TuneConfig().space
    for point in ends(space):
        default.with_values(point)
    own = flatten(default.as_dict())
    assert set(within(space, own)) == {key for key in space if own[key] != "auto"}


def test_ends_hold_every_bound_and_choice():
    points = ends(SPACE)
    assert {point["a"] for point in points} == {1, 3}
    assert {point["b"] for point in points} > {0.5, 4.0}
    assert [point["c"] for point in points][:2] == ["x", ["y", "z"]]


def test_distributions_whole_bounds_draw_whole_numbers():
    whole, real, choice = distributions(SPACE).values()
    assert (whole.low, whole.high, type(whole.low)) == (1, 3, int)
    assert (real.low, real.high, real.log) == (0.5, 4.0, True)
    assert choice.choices == ('"x"', '["y", "z"]')


def test_encode_decode_give_the_values_back():
    values = {"a": 2, "b": 0.7, "c": ["y", "z"]}
    assert decode(SPACE, encode(SPACE, values)) == values


def test_within_leaves_out_what_the_space_does_not_reach():
    assert within(SPACE, {"a": 4, "b": None, "c": ["y", "z"]}) == {"c": ["y", "z"]}
    assert within(SPACE, {"a": 3, "b": 0.5, "c": "w"}) == {"a": 3, "b": 0.5}
