"""Try the catalogue of faults and write its table: `python -m bench.faults`.

Exit status 1 where something was lost or wrong.
"""

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

from bench.__main__ import commit
from bench.faults import damages, limits, places, remote, stops, together
from bench.faults.child import STAGES, take_interrupts
from bench.faults.shop import Shop, environment, open_shop
from pipeline.resources import open_more_files
from tests.servers import s3_client, seaweedfs

_Asked = TypeVar("_Asked")
_Found = TypeVar("_Found")
PAGE = Path("docs/reference/reliability.md")
SEEDED = {
    "a limit of open files": limits.few_files,
    "a limit of memory": limits.little_memory,
    "a clock that jumps": limits.clock,
    "two nights with one id": together.twice,
    "promotions at once": together.promotions,
}
"""Kinds that take the shop, a seed and a number."""
WAITING = {"a database that is held": together.held_database}
"""Such kinds that mostly wait, beside those of `remote`."""
PATIENT = 2
"""Processes for these, beside the others."""
ON_A_DISK = {f"a disk full in {kind}": partial(limits.full_disk, kind) for kind in ("bytes", "inodes")}
"""Such kinds that mount a small disk."""
KINDS = ", ".join((*SEEDED, *ON_A_DISK, *WAITING, *remote.kinds({})))
BEGIN, END = "<!-- faults -->", "<!-- end of faults -->"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One kind of fault."""

    fault: str
    tried: int
    survived: int
    named: int = 0
    wrong: int = 0


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--damages", type=int, default=300)
    parser.add_argument("--moments", type=int, default=200, help="at which a night is killed")
    parser.add_argument("--others", type=int, default=20, help="moments of SIGTERM and Ctrl-C, and disks that are full")
    parser.add_argument("--seeded", type=int, default=5, help=f"tries each of: {KINDS}")
    parser.add_argument("--processes", type=int, default=2, help="that try side by side")
    parser.add_argument("--out", type=Path, help="folder for catalogue and stores; the same one is used again")
    parser.add_argument("--page", type=Path, default=PAGE)
    asked = parser.parse_args()
    open_more_files()  # MLflow keeps every database open
    os.environ.update(environment())  # vectors depend on the number of threads, which torch has read in this process
    with workers(1) as pool:
        shop = pool.submit(open_shop, (asked.out or Path(tempfile.mkdtemp(prefix="faults-"))).resolve()).result()
    begun = time.monotonic()
    rows = try_all(
        shop,
        asked.seed,
        damaged=asked.damages,
        moments=asked.moments,
        others=asked.others,
        seeded=asked.seeded,
        processes=asked.processes,
    )
    minutes = (time.monotonic() - begun) / 60
    lead = (
        f"`python -m bench.faults --seed {asked.seed} --damages {asked.damages} --moments {asked.moments} "
        f"--others {asked.others} --seeded {asked.seeded}`, {commit()}, {minutes:.0f} minutes."
    )
    write_page(asked.page, f"{lead}\n\n{table(rows)}")
    print(table(rows))
    sys.exit(1 if any(row.wrong for row in rows) else 0)


@contextmanager
def workers(count: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that end by themselves: what they run takes SIGTERM for a reason to tidy up."""
    with ProcessPoolExecutor(count, mp_context=get_context("spawn"), initializer=take_interrupts) as pool:
        yield pool


@contextmanager
def object_store() -> Iterator[dict[str, str]]:
    """A real one, with a bucket for the nights; the environment in which its clients find it."""
    with tempfile.TemporaryDirectory(prefix="faults-s3-") as folder, seaweedfs(Path(folder)) as s3:
        s3_client(s3).create_bucket(Bucket=remote.BUCKET)
        yield s3


def try_all(
    shop: Shop, seed: int, *, damaged: int, moments: int, others: int, seeded: int, processes: int = 1
) -> list[Row]:
    """Everything, a row a kind; what mostly waits has workers of its own."""
    with ExitStack() as stack:
        s3 = stack.enter_context(object_store()) if seeded else {}
        busy, patient = stack.enter_context(workers(processes)), stack.enter_context(workers(PATIENT))
        whole = {anew: busy.submit(stops.whole_night, shop, anew=anew).result() for anew in (False, True)}
        if seeded:
            busy.submit(remote.count_requests, shop, s3).result()
        asked: list[tuple[str, Iterable[stops.Stop]]] = []
        for name, attempt in (WAITING | remote.kinds(s3)).items():
            asked.append((name, _each(patient, partial(attempt, shop, seed), range(seeded))))
        broken = _each(busy, partial(damages.damage_one, shop, seed), range(damaged))
        for name, number, count in (
            ("SIGKILL", signal.SIGKILL, moments),
            ("SIGTERM", signal.SIGTERM, others),
            ("Ctrl-C", signal.SIGINT, others),
        ):
            at = partial(stops.stop_at, shop, number, whole[stops.is_anew(number)], seed)
            asked.append((f"{name} at seeded moments", _each(busy, at, range(count))))
            after = partial(stops.stop_after, shop, number)
            asked.append((f"{name} at the end of each stage", _each(busy, after, STAGES if count else ())))
        full = _each(busy, partial(stops.limit_files, shop, seed), range(others))
        asked.append(("a disk that takes no file beyond a size", full))
        for name, attempt in (SEEDED | (ON_A_DISK if places.can_mount() else {})).items():
            asked.append((name, _each(busy, partial(attempt, shop, seed), range(seeded))))
        beside = chain.from_iterable(_each(busy, partial(together.readers, shop, seed), range(min(seeded, 1))))
        asked.append(("readers in a loop beside promote, rollback and gc", beside))
        if places.can_mount():
            read_only = chain.from_iterable(_each(busy, places.read_only, [shop] if others else []))
            asked.append(("a read-only store", read_only))
        rows = [*damage_rows(broken), *(stop_row(name, stopped) for name, stopped in asked)]
    return [row for row in rows if row.tried]


def _each(pool: ProcessPoolExecutor, attempt: Callable[[_Asked], _Found], asked: Iterable[_Asked]) -> Iterator[_Found]:
    """Ask the workers for all now, so that none waits for the last of a kind; take the answers in turn."""
    futures = [pool.submit(attempt, one) for one in asked]
    return (future.result() for future in futures)


def damage_rows(found: Iterable[damages.Damage]) -> list[Row]:
    """A row for each kind of damage."""
    tally = damages.Tally()
    for damage in found:
        tally.add(damage)
        print(damages.as_line(damage), file=sys.stderr, flush=True)
    return [
        Row(
            fault=f"a file {kind}",
            tried=seen.total(),
            survived=seen[damages.UNHARMED],
            named=seen[damages.NAMED],
            wrong=seen[damages.WRONG],
        )
        for kind, seen in sorted(tally.seen.items())
    ]


def stop_row(fault: str, found: Iterable[stops.Stop]) -> Row:
    """One row of all stops of a kind."""
    wrong = []
    for stop in found:
        wrong.append(bool(stop.wrong))
        print(f"{stop.what} {stop.when}: {stop.wrong or 'survived'}", file=sys.stderr, flush=True)
    return Row(fault=fault, tried=len(wrong), survived=len(wrong) - sum(wrong), wrong=sum(wrong))


def table(rows: list[Row]) -> str:
    """As Markdown."""
    lines = ["| fault | tried | survived | named | lost or wrong |", "|---|---|---|---|---|"]
    lines += [f"| {row.fault} | {row.tried} | {row.survived} | {row.named} | {row.wrong} |" for row in rows]
    return "\n".join(lines)


def write_page(page: Path, text: str) -> None:
    """Put the table into its place on the page."""
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}", encoding="utf-8")


if __name__ == "__main__":
    main()
