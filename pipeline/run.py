"""A run: the stages in order, each a transaction that is done once."""

import re
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from upath import UPath

from pipeline.config import Config, compose
from pipeline.errors import ConfigError, InputError
from pipeline.progress import Reporter
from pipeline.storage import (
    Store,
    as_json,
    create_bytes,
    is_complete,
    parse_json,
    publish_folder,
    read_json,
    scratch,
    write_json,
)

RESULT = "result.json"
EXTENDABLE = ("tune.trials", "compare.seeds", "compare.models")
"""A run may be continued with other values of these: more is then done, and what was done stays."""
RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")

Result = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """One run of the pipeline and what its stages need."""

    id: str
    config: Config
    store: Store
    reporter: Reporter

    @property
    def path(self) -> UPath:
        return self.store.run(self.id)

    def stage(self, name: str) -> UPath:
        """Folder of a stage's committed output."""
        return self.path / name

    def result(self, name: str) -> Result | None:
        """What a stage returned, or None while it has not been committed."""
        folder = self.stage(name)
        return read_json(folder / RESULT) if is_complete(folder) else None


Stage = Callable[[Run, Path], Result]
"""Writes its files into the scratch folder given and returns a small JSON result."""


def open_run(config: Config, run_id: str, reporter: Reporter) -> Run:
    """Create the run or continue it; a run keeps the configuration it began with.

    Raises `InputError` for an id that is no plain name, when the configuration has changed since, or
    for one that cannot do (`ConfigError`): a run that has not begun leaves its id free.
    """
    if not RUN_ID.fullmatch(run_id):
        raise InputError(
            f"run id {run_id!r}: use letters, digits, '.', '_' and '-' only, beginning with a letter or digit"
        )
    run = Run(run_id, config, config.open_store(), reporter)
    record = run.path / "config.json"
    if not record.exists():
        from pipeline.preflight import check  # all that a configuration speaks of: only a new run needs to know it

        check(config, run.store)
    wanted = config.as_dict()
    recorded = with_defaults(parse_json(record, create_bytes(record, as_json(wanted))), wanted)
    changed = sorted(differences(recorded, wanted))
    if changed:
        raise InputError(f"run {run_id} was begun with another configuration ({'; '.join(changed)}); use a new run id")
    return run


def with_defaults(recorded: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """The recorded configuration with the default of every setting that a newer version has added since."""
    if recorded == wanted:
        return recorded
    try:
        return compose(recorded, base=Path()).as_dict()
    except ConfigError:  # of a setting that there is no longer: the record as it stands shows the difference
        return recorded


def run_stage(run: Run, name: str, stage: Stage) -> Result:
    """Run one stage unless it is done; commit its folder, result and seconds together."""
    done = run.result(name)
    if done is not None:
        run.reporter.say(f"{name}: done before, {done['seconds']:.1f} s then")
        return done
    run.reporter.say(f"{name}: run {run.id}")
    start = time.monotonic()
    with scratch(run.stage(name)) as folder:
        result = stage(run, folder)
        result["seconds"] = round(time.monotonic() - start, 3)
        # A stage that did its work in processes of its own says what they took.
        result["peak_memory_bytes"] = max(peak_memory_bytes(), result.get("peak_memory_bytes", 0))
        write_json(UPath(str(folder / RESULT)), result)
        published = publish_folder(folder, run.stage(name))
    committed = run.result(name) if not published else result
    run.reporter.say(f"{name}: {result['seconds']:.1f} s")
    return committed or result


def peak_memory_bytes() -> int:
    """Largest resident size of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def differences(before: Any, now: Any, prefix: str = "") -> list[str]:
    """Say where two JSON documents differ, one line a value."""
    if isinstance(before, dict) and isinstance(now, dict):
        return [
            line
            for key in sorted({*before, *now})
            for line in differences(before.get(key), now.get(key), f"{prefix}{key}.")
        ]
    key = prefix.removesuffix(".")
    return [] if before == now or key in EXTENDABLE else [f"{key}: {before!r} then, {now!r} now"]
