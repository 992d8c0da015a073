"""The `microrec` command line (docs/commands.md)."""

import errno
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from pipeline import torchrun
from pipeline.errors import GateRefusedError, InputError, MicrorecError
from pipeline.progress import Reporter

if TYPE_CHECKING:
    from pipeline.config import Config
    from pipeline.run import Run

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)

ConfigFile = Annotated[Path | None, typer.Option("-c", "--config", help="Configuration (TOML); default microrec.toml.")]
Overrides = Annotated[list[str] | None, typer.Option("--set", help="section.key=value; repeatable.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object on stdout.")]
RunId = Annotated[str, typer.Option("--run-id", help="Which run the stage belongs to.")]
Release = Annotated[str | None, typer.Option("--release", help="Run id of the release; default the champion.")]
AsOf = Annotated[
    str | None, typer.Option("--as-of", metavar="MOMENT", help="What the release stands for (ISO 8601, else UTC).")
]
NumResults = Annotated[int, typer.Option("-k", min=1, help="How many to show.")]


DISK_PROBLEMS = {errno.ENOSPC: 1, errno.EDQUOT: 1, errno.EROFS: InputError.exit_status}
"""What a disk may answer, and the exit status: room can be made, a read-only store was named by mistake."""


@dataclass(frozen=True)
class Output:
    """Where a command's result goes: one JSON object, or lines for a person."""

    as_json: bool

    def show(self, result: dict[str, Any], person: Callable[[Console], None]) -> None:
        """Print the result on stdout."""
        if torchrun.rank() > 0:
            return
        if self.as_json:
            sys.stdout.write(json.dumps(result, ensure_ascii=False, default=str, allow_nan=False) + "\n")
        else:
            person(Console(highlight=False))


def _load(file: Path | None, overrides: list[str] | None) -> "Config":
    """Read the configuration; its sections bring torch along, which `--help` has no use for."""
    from pipeline.config import load_config

    return load_config(file, overrides or ())


def _open(config: "Config", run_id: str) -> "Run":
    from pipeline.run import open_run

    return open_run(config, run_id, Reporter())


def _lines(result: dict[str, Any], console: Console) -> None:
    from pipeline.show import show_fields

    show_fields(result, console)


@app.command()
def sample(
    folder: Annotated[Path, typer.Argument(metavar="DIR")],
    items: Annotated[int, typer.Option(min=20, help="Number of items.")] = 600,
    users: Annotated[int, typer.Option(min=10, help="Number of users.")] = 800,
    seed: Annotated[int, typer.Option(help="Same seed, same files.")] = 0,
    config: ConfigFile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Write a small catalogue with pictures, texts and interactions, and a ready microrec.toml."""
    from pipeline.sample import write_sample

    if config is not None or overrides:
        raise InputError("sample writes its own configuration: it takes neither -c nor --set")
    result = write_sample(folder, num_items=items, num_users=users, seed=seed)
    Output(as_json).show(result, partial(_lines, result))


@app.command()
def validate(config: ConfigFile = None, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Check catalogue and interactions and print a report."""
    from pipeline.validate import render
    from pipeline.validate import validate as check

    report = check(_load(config, overrides))
    Output(as_json).show(report, partial(render, report))


@app.command()
def extract(
    modality: Annotated[str | None, typer.Option(help="Only this modality.")] = None,
    shard: Annotated[str, typer.Option(metavar="I/N", help="Only shard I of N, from 0.")] = "0/1",
    run_id: Annotated[str | None, typer.Option("--run-id", help="Commit as this run's stage.")] = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Encode pictures and texts that were not seen before into the feature store."""
    from pipeline.extract import extract as extract_features
    from pipeline.run import Run, run_stage
    from pipeline.stages import do_stage

    settings = _load(config, overrides)
    whole = modality is None and shard == "0/1"
    if run_id is not None and whole:
        result = do_stage(_open(settings, run_id), "extract")
    elif run_id is not None:
        part = "-".join(["extract", *([modality] if modality else []), *(shard.split("/") if shard != "0/1" else [])])
        result = run_stage(
            _open(settings, run_id),
            part,
            lambda this, folder: {"modalities": extract_features(this, modality, _parse_shard(shard))},
        )
    else:
        run = Run("extract", settings, settings.open_store(), Reporter())
        result = {"modalities": extract_features(run, modality, _parse_shard(shard))}
    Output(as_json).show(result, partial(_lines, result))


def _parse_shard(text: str) -> tuple[int, int]:
    index, slash, count = text.partition("/")
    if not (slash and index.isdecimal() and count.isdecimal() and int(index) < int(count)):
        raise InputError(f"--shard {text!r}: expected I/N with 0 <= I < N, such as 0/4")
    return int(index), int(count)


def _stage_command(name: str, summary: str) -> None:
    def command(run_id: RunId, config: ConfigFile = None, overrides: Overrides = None, as_json: AsJson = False) -> None:
        from pipeline.stages import do_stage

        result = do_stage(_open(_load(config, overrides), run_id), name)
        Output(as_json).show(result, partial(_lines, result))

    app.command(name, help=summary)(command)


_stage_command("prepare", "Clean, split and index the interactions and gather the features.")
_stage_command("train", "Fit the model; continues from the latest checkpoint of the run.")
_stage_command("evaluate", "Measure the trained vectors on validation and test.")
_stage_command("export", "Write and publish the release.")
_stage_command("register", "Log the run to MLflow and register the model.")


@app.command()
def changes(run_id: RunId, config: ConfigFile = None, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Say what a prepared run would be trained on that the champion was not: nothing, and training can be spared."""
    from pipeline.changes import find_changes

    result = find_changes(_open(_load(config, overrides), run_id))
    Output(as_json).show(result, partial(_lines, result))


@app.command()
def gate(
    run_id: RunId,
    as_of: AsOf = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Ask the quality gate about an evaluated run, before its release is written."""
    from pipeline.promotion import check_gate

    result = check_gate(_open(_load(config, overrides), run_id), _parse_moment(as_of))
    Output(as_json).show(result, partial(_lines, result))


def _parse_moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(f"--as-of {text!r}: expected a moment such as 2026-11-24T02:00:00+00:00") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


@app.command()
def run(
    run_id: Annotated[str | None, typer.Option("--run-id", help="Continue or name a run; default a new one.")] = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Run all stages in order; the same id continues where it stopped."""
    from pipeline.show import show_run
    from pipeline.stages import new_run_id, run_all

    this = _open(_load(config, overrides), run_id or new_run_id())
    with _continuable(this):
        result = run_all(this)
    Output(as_json).show(result, partial(show_run, result))
    if result["gate"]:
        raise GateRefusedError(result["gate"])


@app.command()
def tune(
    run_id: RunId,
    config: ConfigFile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Search hyper-parameters on validation; the same id continues, the best configuration is written as TOML."""
    from pipeline.tune import tune as search

    this = _open(_load(config, overrides), run_id)
    with _continuable(this):
        result = search(this)
    Output(as_json).show(result, partial(_lines, result))


@app.command()
def embed(
    items: Annotated[str, typer.Option("--items", help="Items to embed: parquet, csv or jsonl.")],
    out: Annotated[str, typer.Option("--out", help="Folder to write item_embeddings/part-*.parquet to.")],
    release: Release = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Vectors for items the model has never seen, without retraining."""
    from pipeline.embed import embed_items

    result = embed_items(_load(config, overrides), items, out, release, Reporter())
    Output(as_json).show(result, partial(_lines, result))


@app.command()
def recommend(
    user: Annotated[str, typer.Option("--user", help="A user id.")],
    k: NumResults = 20,
    release: Release = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Show a user's best items, titles beside ids."""
    from pipeline.lookup import recommend_items
    from pipeline.show import show_list

    result = recommend_items(_load(config, overrides), user, k, release)
    Output(as_json).show(result, partial(show_list, result))


@app.command()
def similar(
    item: Annotated[str, typer.Option("--item", help="An item id.")],
    k: NumResults = 20,
    release: Release = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Show the items nearest to one, titles beside ids."""
    from pipeline.lookup import similar_items
    from pipeline.show import show_list

    result = similar_items(_load(config, overrides), item, k, release)
    Output(as_json).show(result, partial(show_list, result))


@app.command()
def promote(
    version: Annotated[str, typer.Argument(metavar="VERSION")],
    as_of: AsOf = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Make a registered version the champion, if the quality gate lets it."""
    from pipeline.promotion import promote as move_champion

    result = move_champion(_load(config, overrides), version, Reporter(), _parse_moment(as_of))
    Output(as_json).show(result, partial(_lines, result))


@app.command()
def rollback(config: ConfigFile = None, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Make the champion before this one the champion again."""
    from pipeline.promotion import rollback as move_back

    result = move_back(_load(config, overrides), Reporter())
    Output(as_json).show(result, partial(_lines, result))


@app.command()
def to_pgvector(
    release: Release = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Load a release into PostgreSQL with pgvector; MICROREC_PGVECTOR_DSN says where."""
    from pipeline.consumers.pgvector import load_release

    result = load_release(_load(config, overrides), release, os.environ.get("MICROREC_PGVECTOR_DSN", ""), Reporter())
    Output(as_json).show(result, partial(_lines, result))


@app.command()
def verify(
    release: Annotated[str, typer.Argument(metavar="RELEASE", help="Run id of the release, or its path.")],
    config: ConfigFile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Re-check every digest, count and schema of a release, and that registry and files agree."""
    from pipeline.audit import verify_named_release

    result = verify_named_release(_load(config, overrides), release)
    Output(as_json).show(result, partial(_lines, result))


@app.command()
def compare(
    run_id: Annotated[str | None, typer.Option("--run-id", help="Continue or name a comparison.")] = None,
    shard: Annotated[str, typer.Option(metavar="I/N", help="Measure every N-th model only, from I.")] = "0/1",
    config: ConfigFile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Train and evaluate the model, its ablations and the baselines under one protocol."""
    from pipeline.compare.compare import compare as compare_models
    from pipeline.show import show_comparison
    from pipeline.stages import new_run_id

    this = _open(_load(config, overrides), run_id or new_run_id())
    with _continuable(this):
        result = compare_models(this, _parse_shard(shard))
    Output(as_json).show(result, partial(show_comparison, result))


@contextmanager
def _continuable(run: "Run") -> Iterator[None]:
    """Tell whoever interrupts how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        run.reporter.say(f"interrupted; continue with --run-id {run.id}")
        raise


def main(arguments: list[str] | None = None) -> None:
    """Entry point: every expected failure is one message on stderr and its exit status."""
    sys.exit(_exit_status(arguments))


def _exit_status(arguments: list[str] | None) -> int:
    from features.errors import FeatureError

    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        return app(arguments, standalone_mode=False) or 0
    except typer.Abort:
        return 130
    except KeyboardInterrupt:
        return 130
    except (MicrorecError, FeatureError) as error:
        errors.print(f"microrec: {error}", markup=False)
        return error.exit_status if isinstance(error, MicrorecError) else InputError.exit_status
    except PermissionError as error:
        what = f"{error.filename or ''}: no permission ({error.strerror or error})"
        errors.print(f"microrec: {_store_problem(error) or what}", markup=False)
        return InputError.exit_status
    except Exception as error:  # noqa: BLE001  the last resort: usage errors of typer, and anything unexpected
        if hasattr(error, "exit_code") and hasattr(error, "format_message"):
            errors.print(f"microrec: {error.format_message()}", markup=False)
            return int(error.exit_code)
        if isinstance(error, OSError) and error.errno in DISK_PROBLEMS:
            errors.print(f"microrec: {error.filename or 'writing failed'}: {error.strerror}", markup=False)
            return DISK_PROBLEMS[error.errno]
        if reason := _store_problem(error):
            errors.print(f"microrec: {reason}", markup=False)
        else:
            traceback.print_exc()
        return 1


def _store_problem(error: Exception) -> str | None:
    """What an object store that failed half-way has to say; what is wrong from the start is an `InputError`."""
    from pipeline.object_store import explain

    reason = explain(error)
    return reason and f"object store: {reason}"
