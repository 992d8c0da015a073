"""Reading the user's tables lazily, under our column names, ids kept as given; parquet, csv and jsonl(.gz) here.

Ids: text stays text, whole numbers stay whole numbers (int64). Parquet and jsonl say which they are; a csv has
no types, so all its columns are text (007 stays 007), except those of interactions that can only be numbers
or moments (`rating`, `weight`, `timestamp`). A moment without a time zone is taken as UTC.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

import polars as pl
from upath import UPath

from pipeline.catalogue.blame import UNREADABLE, first_line, mend_for
from pipeline.catalogue.column_types import ID_COLUMNS, Table, stack, typed_table
from pipeline.catalogue.csv_files import scan_csv
from pipeline.catalogue.json_files import scan_json_lines
from pipeline.catalogue.locations import partition_values
from pipeline.catalogue.parquet_files import scan_parquet
from pipeline.catalogue.text_files import EmptyFileError
from pipeline.columns import IMAGE_PATH, ITEM_ID, RATING, SPLIT, TIMESTAMP, USER_ID, WEIGHT
from pipeline.errors import InputError
from pipeline.faults.find import raise_if_passing

FORMATS: Mapping[str, Callable[[UPath], pl.LazyFrame]] = {
    ".parquet": scan_parquet,
    ".csv": scan_csv,
    ".csv.gz": scan_csv,
    ".jsonl": scan_json_lines,
    ".ndjson": scan_json_lines,
    ".json": scan_json_lines,
    ".jsonl.gz": scan_json_lines,
    ".ndjson.gz": scan_json_lines,
    ".json.gz": scan_json_lines,
}
"""What opens a file, by the ending of its name in small letters."""
KNOWN_COLUMNS = (ITEM_ID, USER_ID, TIMESTAMP, RATING, WEIGHT, SPLIT, IMAGE_PATH)


def read_tables(
    files: Mapping[UPath, UPath],
    scan: Callable[[UPath], pl.LazyFrame],
    mapping: Mapping[str, str],
    required: Sequence[str],
    *,
    interactions: bool,
) -> Table:
    """All files below one another; a column that some lack is null there, and files that hold nothing are passed over.

    Args:
        files: what `find_files` found, each with the location that it was found at.
        scan: opens one of them, such as `scan_table`.
        mapping: their column name to ours.
        required: columns that every file must have.
        interactions: whether `rating`, `weight` and `timestamp` have their meaning here.

    Raises:
        EmptyFileError: all of them hold nothing.
        InputError: a file that cannot be read, a column that is missing or of a type it cannot have, or files
            that differ in the type of an id.
    """
    tables: dict[UPath, Table] = {}
    empty: EmptyFileError | None = None
    for file, location in files.items():
        try:
            frame = _with_partitions(scan(file), file, location)
        except EmptyFileError as error:
            empty = empty or error
            continue
        tables[file] = typed_table(_rename(frame, file, mapping, required), file, interactions=interactions)
    if empty and not tables:
        raise empty
    _require_one_kind({file: table.frame for file, table in tables.items()})
    table = stack(list(tables.values()))
    schema = table.frame.collect_schema()
    nameless = [pl.col(name).cast(pl.String) for name in ID_COLUMNS if schema.get(name) == pl.Null]
    return Table(table.frame.with_columns(nameless), table.left_out)


def collect(frame: pl.LazyFrame, parts: Iterable[tuple[UPath, pl.LazyFrame]]) -> pl.DataFrame:
    """Run a query.

    Args:
        frame: the query.
        parts: the files behind it, each as a query of its own, to find out which one is to blame.

    Raises `InputError` that names the file, column and value that cannot be read, `PassingError` where the store is to
    blame.
    """
    try:
        return frame.collect(engine="streaming")
    except UNREADABLE as error:
        raise_if_passing(error, "the catalogue cannot be read now")
        problem, where = error, ""
    for file, part in parts:
        try:
            part.collect(engine="streaming")
        except UNREADABLE as error:
            raise_if_passing(error, file)
            problem, where = error, f"{file}: "
            break
    raise InputError(f"{where}cannot be read: {first_line(problem)}; {mend_for(problem)}") from problem


def scan_table(path: UPath) -> pl.LazyFrame:
    """Open a parquet, csv or jsonl file.

    Raises:
        EmptyFileError: a file that holds nothing.
        InputError: another ending, or a file that cannot be read.
    """
    for ending, scan in FORMATS.items():
        if path.name.lower().endswith(ending):
            return scan(path)
    raise InputError(f"{path}: unknown ending; use one of {', '.join(FORMATS)}")


def _with_partitions(frame: pl.LazyFrame, path: UPath, location: UPath) -> pl.LazyFrame:
    """Add the columns that stand in the names of folders only, as text."""
    there = frame.collect_schema().names()
    values = {name: value for name, value in partition_values(path, location).items() if name not in there}
    return frame.with_columns(pl.lit(value, pl.String).alias(name) for name, value in values.items())


def _rename(frame: pl.LazyFrame, path: UPath, mapping: Mapping[str, str], required: Sequence[str]) -> pl.LazyFrame:
    names = frame.collect_schema().names()
    for theirs, ours in mapping.items():
        if theirs in KNOWN_COLUMNS and theirs not in names and ours in names:
            raise InputError(f'catalogue.columns: write {ours} = "{theirs}" (their name = ours), not the reverse')
        if theirs in names and ours in names and theirs != ours and ours not in mapping:
            raise InputError(
                f"{path} has a column {theirs!r} and a column {ours!r}, and catalogue.columns calls the first like "
                f'the second; drop one, or rename the second too: {ours} = "other_{ours}"'
            )
    renamed = [mapping.get(name, name) for name in names]
    for name in required:
        if name not in renamed:
            raise InputError(
                f"{path}: there is no column {name!r}, only {', '.join(names)}; "
                f'map yours under [catalogue.columns]: THEIRS = "{name}"'
            )
    repeated = {name for name in renamed if renamed.count(name) > 1}
    if repeated:
        raise InputError(f"{path}: catalogue.columns gives several columns the name {min(repeated)!r}; keep one")
    return frame.rename({theirs: ours for theirs, ours in mapping.items() if theirs in names})


def _require_one_kind(frames: Mapping[UPath, pl.LazyFrame]) -> None:
    """Refuse what a common supertype would blur: the id 7 in one file and "7" in the next."""
    for name in (*ID_COLUMNS, TIMESTAMP):
        kinds = {file: frame.collect_schema().get(name, pl.Null()) for file, frame in frames.items()}
        seen = {_kind(kind): file for file, kind in kinds.items() if kind != pl.Null}
        if len(seen) > 1:
            where = " and ".join(f"{kind} in {file}" for kind, file in sorted(seen.items()))
            raise InputError(f"column {name} is {where}; write it in one way (in csv all ids are text)")


def _kind(kind: pl.DataType) -> str:
    return "text" if kind == pl.String else "numbers" if kind.is_numeric() else "moments"
