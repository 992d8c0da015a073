"""One night: the export, the command line as it is, what happens meanwhile, and what stands afterwards."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import polars as pl

from bench.nights import disk
from bench.nights.catalogue import Growing, Tables
from bench.nights.kinds import FINISHED, Kind, Outcome
from bench.nights.strikes import Scene
from pipeline.columns import ITEM_ID

TRIES = 3
MICROREC = (sys.executable, "-c", "from pipeline.cli import main; main()")
BETWEEN_TRIES = 1.0
LONGEST_WAIT = 2.0
"""Seconds after the beginning of a stage, at most, in which something happens to it."""


@dataclass(frozen=True, kw_only=True)
class Night:
    """What was drawn and what was seen."""

    number: int
    kind: str
    blame: str
    when: str
    """The stage in which it happened; empty where it did not happen in the middle."""
    right: list[str]
    seen: str
    statuses: list[int]
    note: str
    champion: str
    wrong_champion: bool
    verified: bool | None
    """`microrec verify` of the release; None where it was not asked."""
    seconds: float

    @property
    def as_it_should(self) -> bool:
        """Whether what was seen is right."""
        return self.seen in self.right and self.verified is not False and not self.wrong_champion

    @property
    def lost(self) -> bool:
        """Whether good work was not crowned."""
        return self.blame in ("nothing", "machine") and self.seen not in FINISHED


@dataclass
class Nights:
    """The shop and what is known of it: which champions must not be, and when each one's input was exported."""

    shop: Growing
    out: Path
    seed: int
    settings: tuple[str, ...] = ()
    spoilt: set[str] = field(default_factory=set)
    moment: dict[str, float] = field(default_factory=dict)

    @property
    def store(self) -> Path:
        """Where releases and champion are."""
        return self.shop.folder / "microrec-store"

    def champion(self) -> dict[str, Any]:
        """`champion.json`; empty while there is none."""
        file = self.store / "champion.json"
        return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}

    def recall(self, done: Sequence[Night], kinds: Sequence[Kind]) -> None:
        """Know what is known after nights that an earlier process has spent."""
        champion = ""
        for night, kind in zip(done, kinds, strict=False):
            self._learn(night.number, kind, champion, night.when)
            champion = night.champion

    def spend(self, number: int, kind: Kind) -> Night:
        """One night."""
        run_id, rng, start = f"night-{number:02}", np.random.default_rng([self.seed, 2, number]), time.monotonic()
        before = self.champion().get("run_id", "")
        tables = self._export(self._moment(number, kind, before), kind, rng)
        if kind.same_input:
            self._quick("rollback", "--reason", "seen by a person")
        attempts = _Attempts(self, kind, number, tables, rng)
        statuses = attempts.run(self._command("run", "--run-id", run_id, *_set(*self.settings, *kind.settings)))
        champion, seen = self.champion(), self._outcome(run_id, statuses)
        self._learn(number, kind, before, attempts.struck)
        verified = self._quick("verify", run_id) == 0 if kind.blame == "machine" and seen in FINISHED else None
        if kind.same_input:
            self._quick("champion", "free")
        return Night(
            number=number,
            kind=kind.name,
            blame=kind.blame,
            when=attempts.struck,
            right=sorted(kind.right),
            seen=seen,
            statuses=statuses,
            note=attempts.note,
            champion=champion.get("run_id", ""),
            wrong_champion=self._is_wrong(champion, tables, run_id),
            verified=verified,
            seconds=round(time.monotonic() - start, 1),
        )

    def _moment(self, number: int, kind: Kind, before: str) -> float:
        """When the night's input was exported; `before` is the champion before it."""
        champion = self.moment.get(before, 0.0)
        return champion - 1 if kind.older else champion if kind.same_input else float(number)

    def _learn(self, number: int, kind: Kind, before: str, struck: str) -> None:
        """What must not be champion after the night: what it has made, or what a person has rolled back."""
        run_id, moment = f"night-{number:02}", self._moment(number, kind, before)
        self.moment[run_id] = moment
        if kind.same_input:
            self.spoilt.add(before)
        if kind.spoilt and not (struck and self._has_all(run_id, self.shop.at(moment))):
            self.spoilt.add(run_id)

    def _export(self, moment: float, kind: Kind, rng: np.random.Generator) -> Tables:
        """Write what the night finds; return what it should have found."""
        tables = self.shop.at(moment)
        self.shop.write(kind.change(tables, rng) if kind.change else tables)
        if kind.half_written:
            file = self.shop.folder / "interactions.parquet"
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        return tables

    def _command(self, name: str, *arguments: str) -> list[str]:
        return [*MICROREC, *name.split(), *arguments, "-c", str(self.shop.folder / "microrec.toml"), "--json"]

    def _quick(self, name: str, *arguments: str) -> int:
        with (self.out / "commands.log").open("a", encoding="utf-8") as log:
            return subprocess.run(self._command(name, *arguments), stdout=log, stderr=log, check=False).returncode

    def _outcome(self, run_id: str, statuses: list[int]) -> Outcome:
        if self.champion().get("run_id") == run_id:
            return Outcome.PROMOTED if statuses == [0] else Outcome.RETRIED
        published = (self.store / "releases" / run_id / "_SUCCESS").exists()
        return {
            (3, False): Outcome.CHECKS,
            (3, True): Outcome.GATE,
            (0, True): Outcome.HELD,
            (2, False): Outcome.UNUSABLE,
        }.get((statuses[-1], published), Outcome.FAILED)

    def _has_all(self, run_id: str, tables: Tables) -> bool:
        """Whether a release has every item of the export."""
        folder = self.store / "releases" / run_id / "item_embeddings"
        if not folder.exists():
            return False
        released = pl.read_parquet(folder / "*.parquet", columns=[ITEM_ID])[ITEM_ID]
        return set(tables.items[ITEM_ID]) <= set(released)

    def _is_wrong(self, champion: dict[str, Any], tables: Tables, run_id: str) -> bool:
        """A champion by faulty input or settings, or one of this night that lacks items."""
        name = champion.get("run_id", "")
        return name in self.spoilt or (name == run_id and not self._has_all(run_id, tables))


class _Attempts:
    """The tries of one night, as an orchestrator makes them."""

    def __init__(self, nights: Nights, kind: Kind, number: int, tables: Tables, rng: np.random.Generator) -> None:
        self.nights, self.kind, self.number, self.tables, self.rng = nights, kind, number, tables, rng
        self.struck, self.note = "", ""
        self.moment = str(rng.choice(kind.moments)) if kind.strike else ""
        self.wait = float(rng.uniform(0, LONGEST_WAIT))
        self.log = nights.out / "logs" / f"night-{number:02}"
        self.log.parent.mkdir(exist_ok=True)
        self.environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, (disk.__path__[0], os.environ.get("PYTHONPATH")))),
            "NIGHTS_DISK": str(nights.store.resolve()),
            "NIGHTS_DISK_FAULT": str(nights.out / "disk-fault"),
            "NIGHTS_DISK_ERRNO": str(kind.errno),
        }

    def run(self, command: list[str]) -> list[int]:
        """Until it is done, or trying again does not help; the exit status of each try."""
        statuses: list[int] = []
        while len(statuses) < TRIES:
            statuses.append(self._try(command, len(statuses) + 1))
            passing = statuses[-1] in (1, -signal.SIGKILL)
            if not passing and not (self.kind.cleared and statuses[-1] == 2):
                break
            time.sleep(BETWEEN_TRIES)
        return statuses

    def _try(self, command: list[str], number: int) -> int:
        with self.log.with_suffix(f".{number}.out").open("w", encoding="utf-8") as answer:
            process = self._start(command, answer, subprocess.PIPE)
            strike = None
            assert process.stderr
            with self.log.with_suffix(f".{number}.err").open("w", encoding="utf-8") as log:
                gates = 0
                for line in process.stderr:
                    log.write(line)
                    gates += line.startswith("gate: ")
                    began = "promote" if gates == 2 else line.partition(": run ")[0]
                    if self.kind.strike and strike is None and not self.struck and began == self.moment:
                        strike = threading.Thread(target=self._strike, args=(command, process))
                        strike.start()
            process.stderr.close()
            status = process.wait()
            if strike:
                strike.join()
            return status

    def _start(self, command: list[str], answer: IO[str], errors: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            command, stdout=answer, stderr=errors, text=True, env=self.environment, start_new_session=True
        )

    def _strike(self, command: list[str], process: subprocess.Popen[str]) -> None:
        time.sleep(self.wait)
        self.struck = self.moment if process.poll() is None else f"after {self.moment}"
        assert self.kind.strike
        self.note = self.kind.strike(
            Scene(
                process=process,
                again=lambda: self._beside(command),
                shop=self.nights.shop,
                night=self.number,
                tables=self.tables,
                fault=self.nights.out / "disk-fault",
                database=self.nights.store / "mlflow.db",
                rng=self.rng,
            )
        )

    def _beside(self, command: list[str]) -> int:
        with (
            self.log.with_suffix(".beside.out").open("w", encoding="utf-8") as answer,
            self.log.with_suffix(".beside.err").open("w", encoding="utf-8") as errors,
        ):
            return self._start(command, answer, errors).wait()


def _set(*settings: str) -> list[str]:
    return [part for setting in settings for part in ("--set", setting)]
