"""Reading the user's tables lazily, under our column names, ids kept as given; parquet, csv and jsonl(.gz) here.

Ids: text stays text, whole numbers stay whole numbers (int64). Parquet and jsonl say which they are; a csv has
no types, so all its columns are text (007 stays 007), except those of interactions that can only be numbers
or moments (`rating`, `weight`, `timestamp`). A moment without a time zone is taken as UTC.
"""

import gzip
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import polars as pl
from upath import UPath

from pipeline.columns import IMAGE_PATH, ITEM_ID, RATING, SPLIT, TIMESTAMP, USER_ID, WEIGHT
from pipeline.errors import InputError, InputMissingError
from pipeline.faults.find import raise_if_passing
from pipeline.storage.arrow import polars_name, polars_options
from pipeline.storage.files import is_local, list_files, require_reachable, resolve

FORMATS = {
    ".parquet": "parquet",
    ".csv": "csv",
    ".csv.gz": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".jsonl.gz": "jsonl",
    ".ndjson.gz": "jsonl",
}
ID_COLUMNS = (ITEM_ID, USER_ID)
NUMBER_COLUMNS = (RATING, WEIGHT)
KNOWN_COLUMNS = (*ID_COLUMNS, TIMESTAMP, *NUMBER_COLUMNS, SPLIT, IMAGE_PATH)
_MOMENT = pl.Datetime("us", "UTC")
UNREADABLE = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError)
"""What polars raises on what it cannot read; a panic, which is no `Exception`, where an edge was not thought of."""


def find_files(path: UPath, endings: Sequence[str] = tuple(FORMATS)) -> list[UPath]:
    """The files that a location stands for, sorted: a file itself, a folder's, or those a glob matches.

    Args:
        path: the location.
        endings: what the names of files in a folder or under a glob end in.

    Raises `InputMissingError` when there is none.
    """
    require_reachable(path, "catalogue")
    if path.is_dir():
        found = [path / name for name in list_files(path) if "/" not in name]
    elif path.exists():
        return [path]
    elif any(character in path.path for character in "*?["):
        prefix = "" if is_local(path) else f"{path.protocol}://"
        found = [resolve(f"{prefix}{name}", Path()) for name in path.fs.glob(path.path)]
    else:
        raise InputMissingError(
            f"{path} does not exist; catalogue paths are relative to the configuration file's folder"
        )
    named = (file for file in found if file.name.endswith(tuple(endings)) and not file.name.startswith((".", "_")))
    found = sorted(named, key=str)
    if not found:
        raise InputMissingError(
            f"{path} holds no file with one of the endings {', '.join(endings)}; for files in folders below, "
            "write a glob such as data/**/*.parquet"
        )
    return found


def read_tables(
    files: Sequence[UPath],
    scan: Callable[[UPath], pl.LazyFrame],
    mapping: Mapping[str, str],
    required: Sequence[str],
    *,
    interactions: bool,
) -> pl.LazyFrame:
    """All files below one another; a column that some lack is null there.

    Args:
        files: what `find_files` found.
        scan: opens one of them, such as `scan_table`.
        mapping: their column name to ours.
        required: columns that every file must have.
        interactions: whether `rating`, `weight` and `timestamp` have their meaning here.

    Raises:
        InputError: a file that cannot be read, a column that is missing or of a type it cannot have, or files
            that differ in the type of an id.
    """
    frames = {}
    for file in files:
        frame = _typed_ids(_rename(scan(file), file, mapping, required), file)
        frames[file] = _typed_values(frame, file) if interactions else frame
    _require_one_kind(frames)
    try:
        frame = pl.concat(list(frames.values()), how="diagonal_relaxed")
        schema = frame.collect_schema()
    except UNREADABLE as error:
        raise_if_passing(error, files[0])
        raise InputError(f"{', '.join(map(str, files))}: their columns do not fit together ({error})") from error
    return frame.with_columns(pl.col(name).cast(pl.String) for name in ID_COLUMNS if schema.get(name) == pl.Null)


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
            if _format_of(file) in ("csv", "jsonl") and (told := _not_utf8(file)):
                raise InputError(told) from error
            problem, where = error, f"{file}: "
            break
    raise InputError(f"{where}cannot be read: {_first_line(problem)}; correct the value or leave it empty") from problem


def _format_of(path: UPath) -> str | None:
    return next((kind for ending, kind in FORMATS.items() if path.name.endswith(ending)), None)


def scan_table(path: UPath) -> pl.LazyFrame:
    """Open a parquet, csv or jsonl file.

    Raises `InputError` for another ending, or a file that cannot be read.
    """
    kind = _format_of(path)
    if kind is None:
        raise InputError(f"{path}: unknown ending; use one of {', '.join(FORMATS)}")
    if kind == "csv":
        return scan_csv(path)
    return _opened(path, kind, _scan_parquet if kind == "parquet" else _scan_jsonl)


def scan_csv(path: UPath, separator: str = ",") -> pl.LazyFrame:
    """Open a text file of columns, all of them text.

    Raises `InputError` for a file that cannot be read.
    """
    name, options = polars_name(path), polars_options(path)
    frame = _opened(
        path, "csv", lambda _: pl.scan_csv(name, separator=separator, infer_schema=False, glob=False, **options)
    )
    if any("\ufffd" in column for column in frame.collect_schema().names()) and (problem := _not_utf8(path)):
        raise InputError(problem)
    return frame


def _not_utf8(path: UPath) -> str | None:
    """Where a text file stops being UTF-8; None where it does not."""
    start = 0
    with path.open("rb") as file, gzip.open(file) if path.name.endswith(".gz") else file as lines:
        for number, line in enumerate(lines, start=1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                return (
                    f"{path}, line {number}, byte {start + error.start:,}: {line[error.start : error.end]!r} is not "
                    "UTF-8; write the file anew in UTF-8"
                )
            start += len(line)
    return None


def _opened(path: UPath, kind: str, scan: Callable[[UPath], pl.LazyFrame]) -> pl.LazyFrame:
    try:
        frame = scan(path)
        frame.collect_schema()
    except (*UNREADABLE, ValueError) as error:
        raise_if_passing(error, path)
        problem = _not_utf8(path) if kind == "jsonl" and "UTF-8" in str(error) else None
        raise InputError(problem or f"{path} cannot be read as {kind}: {_first_line(error)}; write it anew") from error
    return frame


def _scan_parquet(path: UPath) -> pl.LazyFrame:
    return pl.scan_parquet(polars_name(path), glob=False, **polars_options(path))


def _scan_jsonl(path: UPath) -> pl.LazyFrame:
    return pl.scan_ndjson(polars_name(path), infer_schema_length=None, **polars_options(path))


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


def _typed_ids(frame: pl.LazyFrame, path: UPath) -> pl.LazyFrame:
    """Ids as text or int64; an empty text is no id."""
    schema = frame.collect_schema()
    casts = []
    for name in ID_COLUMNS:
        kind = schema.get(name)
        if kind is None or kind == pl.Null:
            continue
        if kind == pl.String or isinstance(kind, pl.Categorical | pl.Enum):
            text = pl.col(name).cast(pl.String)
            casts.append(pl.when(text != "").then(text).alias(name))
        elif kind.is_integer():
            casts.append(pl.col(name).cast(pl.Int64))
        else:
            raise InputError(f"{path}, column {name}: ids are {kind}; write them as text or whole numbers")
    return frame.with_columns(casts)


def _typed_values(frame: pl.LazyFrame, path: UPath) -> pl.LazyFrame:
    """Ratings and weights as float64 (NaN is null), timestamps as numbers or as moments in UTC."""
    schema = frame.collect_schema()
    casts = []
    for name in NUMBER_COLUMNS:
        kind = schema.get(name)
        if kind is None:
            continue
        if not (kind.is_numeric() or kind in (pl.String, pl.Null)):
            raise InputError(f"{path}, column {name}: values are {kind}; write numbers")
        casts.append(pl.col(name).cast(pl.Float64).fill_nan(None))
    if TIMESTAMP in schema:
        casts.append(_typed_timestamp(frame, path, schema[TIMESTAMP]))
    return frame.with_columns(casts)


def _typed_timestamp(frame: pl.LazyFrame, path: UPath, kind: pl.DataType) -> pl.Expr:
    column = pl.col(TIMESTAMP)
    if isinstance(kind, pl.Datetime):
        return column.dt.convert_time_zone("UTC").cast(_MOMENT) if kind.time_zone else _as_utc(column)
    if kind == pl.Date:
        return _as_utc(column)
    if kind == pl.String:
        return _parsed_timestamp(frame, path)
    if not (kind.is_numeric() or kind == pl.Null):
        raise InputError(f"{path}, column {TIMESTAMP}: values are {kind}; write moments or seconds since 1970")
    return _finite(column.cast(pl.Int64 if kind.is_integer() else pl.Float64))


def _finite(column: pl.Expr) -> pl.Expr:
    return pl.when(column.is_finite()).then(column)


def _as_utc(column: pl.Expr) -> pl.Expr:
    return column.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")


def _parsed_timestamp(frame: pl.LazyFrame, path: UPath) -> pl.Expr:
    """Text as numbers or as moments, whichever the first value is."""
    column = pl.col(TIMESTAMP)
    try:
        first = frame.select(column.drop_nulls().head(1)).collect().to_series()
    except UNREADABLE as error:
        raise_if_passing(error, path)
        raise InputError(f"{path} cannot be read: {_first_line(error)}") from error
    for number in (pl.Int64, pl.Float64):
        if first.cast(number, strict=False).null_count() == 0:
            return _finite(column.cast(number))
    try:
        first.str.to_datetime(time_unit="us", time_zone="UTC")
    except pl.exceptions.PolarsError as error:
        raise InputError(
            f"{path}, column {TIMESTAMP}: {first[0]!r} is no moment; write 2025-12-31T23:59:59 or seconds since 1970"
        ) from error
    return column.str.to_datetime(time_unit="us", time_zone="UTC")


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


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
