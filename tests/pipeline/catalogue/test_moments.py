"""Timestamps: what nobody can tell is refused, not guessed."""

from datetime import UTC, datetime

import pytest

from pipeline.errors import InputError
from tests.pipeline.catalogue.cases import INTERACTIONS, checked, shop, write

MOMENT = datetime(2025, 3, 1, 12, tzinfo=UTC)


def timed(folder, values, ending=".csv"):
    columns = {**INTERACTIONS, "timestamp": (list(values) * 16)[:16]}
    write(folder / f"inter{ending}", columns)
    return shop(folder, interactions=f"inter{ending}")


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
@pytest.mark.parametrize(
    "values",
    [
        ["01/01/2023", "02/01/2023", "12/01/2022"],
        ["31/12/2023", "30/12/2023"],
        ["01-02-2023", "03-04-2023"],
        ["1.2.2023", "3.4.2023"],
        ["01/02/23", "03/04/23"],
        ["01/02/2023 10:11:12", "03/04/2023 10:11:12"],
        ["2023-01-01", "02/01/2023"],
        ["Jan 2, 2023", "Feb 3, 2023"],
        ["yesterday"],
    ],
)
def test_texts_without_the_year_first_are_refused(tmp_path, ending, values):
    with pytest.raises(InputError, match=rf"inter\{ending}, column timestamp: '.*' is not a moment with the year"):
        checked(timed(tmp_path, values, ending))


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
@pytest.mark.parametrize(
    "value",
    [
        "2025-03-01 12:00:00",
        "2025-03-01T12:00:00",
        "2025-03-01T12:00:00Z",
        "2025-03-01T14:00:00+02:00",
        "2025-03-01T12:00:00.000",
        "2025/03/01 12:00:00",
    ],
)
def test_texts_with_the_year_first_are_read(tmp_path, ending, value):
    assert checked(timed(tmp_path, [value], ending))["interactions"]["last_timestamp"] == MOMENT.isoformat()


def test_day_alone_is_its_beginning(tmp_path):
    assert checked(timed(tmp_path, ["2025-03-01"]))["interactions"]["last_timestamp"] == "2025-03-01T00:00:00+00:00"


SECONDS = 1_700_000_000


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
@pytest.mark.parametrize(
    ("factors", "units"),
    [
        ((1, 1000), "seconds .*1700000000.* milliseconds .*1700000000000"),
        ((1000, 1_000_000), "milliseconds .* microseconds"),
        ((1, 1_000_000_000), "seconds .* nanoseconds"),
        ((1.0, 1000.0), "seconds .* milliseconds"),
    ],
)
def test_numbers_of_two_units_are_refused(tmp_path, ending, factors, units):
    with pytest.raises(InputError, match=rf"inter.*, column timestamp: .* in {units}.*; write all in one unit"):
        checked(timed(tmp_path, [SECONDS * factor for factor in factors], ending))


def test_numbers_of_two_units_in_two_files_are_refused(tmp_path):
    write(tmp_path / "inter/1.csv", {**INTERACTIONS, "timestamp": [SECONDS] * 16})
    write(tmp_path / "inter/2.csv", {**INTERACTIONS, "timestamp": [SECONDS * 1000] * 16})
    with pytest.raises(InputError, match=r"16 in seconds .* and 16 in milliseconds"):
        checked(shop(tmp_path, interactions="inter"))


def test_moments_far_from_the_others_are_no_other_unit(tmp_path):
    for far in ("9999-12-31", "1970-01-03"):
        found = checked(timed(tmp_path, ["2023-11-14", far]))["interactions"]["timestamps"]
        assert far in (found["first"][:10], found["last"][:10])


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("values", [[20230102, 20231231], [20230102030405, None], [20230102.0, None]])
def test_dates_without_separators_are_refused(tmp_path, ending, values):
    with pytest.raises(InputError, match=r"inter.*, column timestamp: 20230102\d* and all others are dates"):
        checked(timed(tmp_path, values, ending))


@pytest.mark.parametrize(
    ("values", "first"),
    [
        (["1700000000", "1700000000.5"], 1700000000.0),
        ([" 1700000000", "  "], 1700000000),
        (["2023-01-02 03:04:05 UTC", "2023-01-02 03:04:06.5 UTC"], "2023-01-02T03:04:05+00:00"),
    ],
)
def test_texts_in_ways_that_are_plain_are_read(tmp_path, values, first):
    assert checked(timed(tmp_path, values))["interactions"]["timestamps"]["first"] == first


@pytest.mark.parametrize(
    "values", [[0, SECONDS], [1, 2, 3], [None, SECONDS], [-5, 10**6, SECONDS], [20230101, SECONDS], [20231301]]
)
def test_numbers_that_may_be_of_one_unit_are_read(tmp_path, values):
    assert checked(shop(tmp_path, interactions=timed(tmp_path, values).catalogue.interactions[0]))["interactions"]
