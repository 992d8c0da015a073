"""The page that `make bench` writes."""

from bench.__main__ import SIZES, bars, growth


def test_growth_says_the_exponent_between_sizes():
    reports = [{"stages": {"one epoch": seconds}} for seconds in (2.0, 20.0, 2000.0)]
    *_, row, _ = growth([{"stages": {}}, *reports])
    assert row == "| one epoch | 2.00 | 1.00 | 20.00 | 2.00 | 2000.00 |"


def test_growth_needs_every_size():
    assert growth([{"stages": {"one epoch": 1.0}}] * (len(SIZES) - 1)) == []


def test_bars_that_fail_stand_out():
    lines = bars([{"bars": [{"text": "at least 40 x", "measured": "29 x", "holds": False}]}])
    assert "| at least 40 x | 29 x | **no** |" in lines
