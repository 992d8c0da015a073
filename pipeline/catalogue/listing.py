"""Which pictures a catalogue names, and the version of each, without reading any."""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl
from upath import UPath

from pipeline.catalogue.pictures import LARGEST, OutsideError, Pictures, Problem, other_forms
from pipeline.columns import IMAGE_PATH, LOCATION, PROBLEM, SIZE, VERSION
from pipeline.storage.files import is_absence
from pipeline.storage.version import FileVersion, file_versions

SCHEMA = {
    IMAGE_PATH: pl.String,
    LOCATION: pl.String,
    SIZE: pl.Int64,
    VERSION: pl.String,
    PROBLEM: pl.String,
}
"""`location` is absolute; it and the version are null where there is a `problem`, the value of a `Problem`."""


@dataclass(frozen=True)
class _Place:
    path: UPath | None
    version: FileVersion | None = None
    problem: Problem | None = None


def list_pictures(pictures: Pictures, image_paths: pl.Series) -> pl.DataFrame:
    """A row for each picture that items name, sorted by `image_path`; items without one have none."""
    named = image_paths.cast(pl.String).drop_nulls().unique().sort().to_list()
    named = [location for location in named if location]
    places = dict(zip(named, _found([_place(pictures, location) for location in named]), strict=True))
    for location, form in ((one, form) for one in named for form in other_forms(one)):
        if places[location].problem is Problem.NOT_FOUND:
            (places[location],) = _found([_place(pictures, form)])
    return pl.DataFrame([(name, *_row(place)) for name, place in places.items()], SCHEMA, orient="row")


def _row(place: _Place) -> tuple[str | None, int | None, str | None, str | None]:
    if place.problem or place.version is None:
        return None, None, None, (place.problem or Problem.NOT_FOUND).value
    return str(place.path), place.version.size, place.version.version, None


def _place(pictures: Pictures, location: str) -> _Place:
    try:
        return _Place(pictures.path(location))
    except OutsideError:
        return _Place(None, problem=Problem.OUTSIDE)
    except OSError as error:
        if not is_absence(error):
            raise
        return _Place(None, problem=Problem.NOT_FOUND)


def _found(places: Sequence[_Place]) -> list[_Place]:
    """The same with the versions of what is there."""
    versions = iter(file_versions([place.path for place in places if place.path]))
    return [_checked(place, next(versions)) if place.path else place for place in places]


def _checked(place: _Place, version: FileVersion | None) -> _Place:
    there = version is not None and version.size <= LARGEST
    return _Place(place.path, version) if there else _Place(place.path, problem=Problem.NOT_FOUND)
