"""The configuration of the checks, what they say in one sentence, and their table."""

import math

import pytest

from pipeline.config.config import compose
from pipeline.errors import ChecksRefusedError, ConfigError
from pipeline.registry.checks import Check, Checks, ChecksConfig, MaxFallsConfig, lines_of, require_passed

CATALOGUE = {"items": "items.parquet", "interactions": ["x.parquet"]}


def row(verdict="refused", name="items", **changes):
    return Check(
        **{"name": name, "then": "577", "now": "144", "allowed": "at least 520", "verdict": verdict, **changes}
    )


@pytest.mark.parametrize("key", ["max_fall", "max_content_fall", "max_dropped_rise"])
@pytest.mark.parametrize("share", [-0.01, 1.01, math.nan])
def test_checks_config_share_outside_of_0_and_1_is_refused(key, share):
    with pytest.raises(ValueError, match=rf"checks\.{key} is .*between 0 and 1"):
        ChecksConfig(**{key: share})


@pytest.mark.parametrize("key", ["items", "users", "interactions"])
def test_max_falls_config_share_outside_of_0_and_1_is_refused(key):
    with pytest.raises(ValueError, match=rf"checks\.max_falls\.{key} is 1\.5; it is a share between 0 and 1"):
        MaxFallsConfig(**{key: 1.5})


@pytest.mark.parametrize("key", ["min_items", "min_users", "min_interactions"])
def test_checks_config_floor_below_0_is_refused(key):
    with pytest.raises(ValueError, match=rf"checks\.{key} is -1; it is a number of at least 0"):
        ChecksConfig(**{key: -1})


def test_compose_section_checks_is_read_with_its_own_table(tmp_path):
    section = {"max_fall": 0.2, "max_falls": {"users": 0.5}, "min_items": 10}
    checks = compose({"catalogue": CATALOGUE, "checks": section}, base=tmp_path).checks
    assert (checks.max_fall, checks.max_falls.users, checks.max_falls.items, checks.min_items) == (0.2, 0.5, None, 10)


def test_compose_unknown_key_of_checks_names_the_nearest(tmp_path):
    with pytest.raises(
        ConfigError, match=r"'checks\.max_falls\.item'; the nearest known one is 'checks\.max_falls\.items'"
    ):
        compose({"catalogue": CATALOGUE, "checks": {"max_falls": {"item": 0.5}}}, base=tmp_path)


@pytest.mark.parametrize("verdict", ["ok", "accepted", "not compared"])
def test_require_passed_nothing_refused_is_silent(verdict):
    require_passed(Checks(verdict="ok", rows=[row(verdict)]))


def test_require_passed_change_says_figures_and_how_to_accept_it():
    with pytest.raises(ChecksRefusedError) as refused:
        require_passed(Checks(verdict="refused", champion="night-1", rows=[row()]))
    assert refused.value.exit_status == 3
    assert str(refused.value) == (
        "the input is refused: it differs too much from that of the champion night-1 (items: 577 then, 144 now "
        "(allowed: at least 520)); mend it, or accept the change for this time with --accept-change"
    )


def test_require_passed_floor_says_that_it_can_be_lowered_only():
    below = row(name="items, floor", then="–", floor=True)
    with pytest.raises(ChecksRefusedError) as refused:
        require_passed(Checks(verdict="refused", rows=[below, row("ok")]))
    assert str(refused.value) == (
        "the input is refused: it is smaller than [checks] allows (items, floor: 144 now (allowed: at least 520)); "
        "mend it, or lower the floor in [checks]"
    )


def test_require_passed_many_rows_names_the_first_and_counts_the_rest():
    rows = [row(name=name) for name in "abcde"]
    with pytest.raises(ChecksRefusedError, match=r"\(a: .*; b: .*; c: .*; and 2 more\)"):
        require_passed(Checks(verdict="refused", champion="r", rows=rows))


def test_lines_of_rows_is_an_aligned_table_with_notes():
    unknown = row("not compared", name="interactions dropped", then="–", now="8.00%", allowed="–", note="why")
    assert lines_of(Checks(verdict="refused", champion="night-1", rows=[row(), unknown])) == [
        "checks of the input: refused; compared with the champion night-1",
        "                        then    now  allowed",
        "  items                  577    144  at least 520  refused",
        "  interactions dropped     –  8.00%  –             not compared: why",
    ]


def test_lines_of_nothing_compared_is_one_line_that_says_why():
    nothing = Checks(verdict="ok", note="there is no champion to compare with")
    assert lines_of(nothing) == ["checks of the input: ok; there is no champion to compare with"]
