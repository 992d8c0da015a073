"""What several commands take: their options, how these are read, and where a result goes."""

import json
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from pipeline import torchrun
from pipeline.cli.show import show_fields
from pipeline.errors import InputError
from pipeline.terminal import Terminal

if TYPE_CHECKING:
    from pipeline.config.config import Config

ConfigFile = Annotated[Path | None, typer.Option("-c", "--config", help="Configuration (TOML); default microrec.toml.")]
Overrides = Annotated[list[str] | None, typer.Option("--set", help="section.key=value; repeatable.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object on stdout.")]
RunId = Annotated[str, typer.Option("--run-id", help="Id of the run.")]
Release = Annotated[
    str | None, typer.Option("--release", help="Run id of a release, or its path; default the champion's.")
]
AsOf = Annotated[
    str | None,
    typer.Option(
        "--as-of", metavar="MOMENT", help="Moment that the release stands for (ISO 8601; UTC if it names no zone)."
    ),
]
AcceptChange = Annotated[
    bool, typer.Option("--accept-change", help="Accept for this time an input that differs from the champion's.")
]
Html = Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Also write a page with pictures.")]
NumResults = Annotated[int, typer.Option("-k", min=1, help="How many to show.")]

TRY, NIGHT, MEASURE, RELEASE, CHAMPION, UPKEEP = (
    "Try it",
    "A night: run does all of it, each other command a part",
    "Measure models",
    "Use a release",
    "Champion",
    "Upkeep",
)
"""What commands are for: how `--help` groups them, in the order in which commands are added."""

Shown = TypeVar("Shown")
_HIGH_CONTROLS = re.compile(r"[\x7f-\x9f]")
"""Control characters that JSON does not ask to be escaped, and that a terminal obeys."""


def load(file: Path | None, overrides: list[str] | None) -> "Config":
    """Read the configuration."""
    from pipeline.config.config import load_config

    return load_config(file, overrides or ())


def show(result: Shown, as_json: bool, person: Callable[[Shown, Terminal], None] = show_fields) -> None:
    """Print the result on stdout: one JSON object, or what `person` prints; of several processes the first speaks.

    Args: result: a dataclass, or plain values.
    """
    if torchrun.rank() > 0:
        return
    if as_json:
        from pipeline.documents import as_document

        document = as_document(result)
        text = json.dumps(document, ensure_ascii=False, default=str, allow_nan=False)
        sys.stdout.write(_HIGH_CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text) + "\n")
    else:
        person(result, Terminal())


def parse_shard(text: str) -> tuple[int, int]:
    """Read `--shard`."""
    index, slash, count = text.partition("/")
    if not (slash and index.isdecimal() and count.isdecimal() and int(index) < int(count)):
        raise InputError(f"--shard {text!r}: expected I/N with 0 <= I < N, such as 0/4")
    return int(index), int(count)


def parse_moment(text: str | None) -> datetime | None:
    """Read `--as-of`; a moment without a time zone is in UTC."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(f"--as-of {text!r}: expected a moment such as 2026-11-24T02:00:00+00:00") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
