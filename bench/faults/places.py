"""Places that cannot be written to."""

import subprocess
from pathlib import Path

from bench.faults.child import Said
from bench.faults.shop import FINISHED, SECOND, Shop, environment
from bench.faults.stops import Stop
from bench.nights.night import MICROREC

MOUNT = 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && shift && exec "$@"'
READS = {"verify": (SECOND,), "similar": ("--item", "{item}"), "champion": ()}
"""Commands that write nothing to the store."""


def can_mount() -> bool:
    """Whether this machine lets this user have a read-only place."""
    return subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode == 0


def read_only(shop: Shop) -> list[Stop]:
    """Each command that reads works on a read-only store; the others say that they cannot write."""
    store, seen = shop.copy(FINISHED), []
    for name, more in READS.items():
        item = next((store / "releases" / SECOND).glob("item_embeddings/*.parquet"))
        seen.append(_judged(shop, store, name, 0, *(one.format(item=_first_id(item)) for one in more)))
    seen.append(_judged(shop, store, "run", 2, "--run-id", "r3"))
    seen.append(_judged(shop, store, "promote", 2, "1", "--force"))
    return seen


def _first_id(part: object) -> str:
    import polars as pl

    return str(pl.read_parquet(str(part))["item_id"][0])


def _judged(shop: Shop, store: Path, name: str, status: int, *more: str) -> Stop:
    command = [*MICROREC, *shop.arguments(store, name, *more)]
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", MOUNT, "sh", str(store), *command],
        capture_output=True, text=True, check=False, env=environment(),
    )  # fmt: skip
    said = Said(status=done.returncode, out=done.stdout, err=done.stderr)
    right = said.status == status and (status == 0 or bool(said.message))
    return Stop(what="read-only store", when=name, wrong="" if right else f"status {said.status}: {said.err[-600:]}")
