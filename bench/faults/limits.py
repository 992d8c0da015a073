"""Machines with too little: a disk that is full in bytes or in inodes, few open files, little memory."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

from bench.faults.child import CALL, FORKED, NOT_ENDED, Said
from bench.faults.shop import FINISHED, SECOND, Shop, environment
from bench.faults.stops import LIMIT, Stop, continued, left_behind, told_once
from pipeline.cli.application import LEAST_OPEN_FILES

BLOCK = 4096
GOLDEN = 0.618
ON_A_SMALL_DISK = """
from=$1 store=$2 back=$3 options=$4; shift 4
mkdir -p "$store" && mount -t tmpfs -o "$options" tmpfs "$store" && cp -a "$from/." "$store" || exit 99
"$@"
status=$?
cp -a "$store/." "$back" || exit 98
exit $status
"""
"""In a mount namespace of its own: the store on a tmpfs, the night, and what it has left, where it can be looked at."""


def full_disk(kind: str, shop: Shop, seed: int, turn: int) -> Stop:
    """A disk with room for some share of what the night writes, in `bytes` or in `inodes`; then there is room again.

    The shares of turns that follow each other lie apart, so that few tries come to most stages.
    """
    share = float(np.random.default_rng([seed, 4]).uniform() + turn * GOLDEN) % 1
    began, ended = shop.snapshot("validate"), shop.snapshot(FINISHED)
    few, many = (_blocks(store) if kind == "bytes" else _inodes(store) for store in (began, ended))
    size = int(few + 8 + share * max(1, many - few))  # 8: what mounting and locks take
    options = f"size={size * BLOCK}" if kind == "bytes" else f"nr_inodes={size},size=1g"
    back = shop.copy("validate")
    shutil.rmtree(back)
    back.mkdir()
    place = back.parent / "small"
    command = [sys.executable, "-c", CALL, *shop.arguments(place, "run", "--run-id", SECOND, "--json")]
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", ON_A_SMALL_DISK, "sh", *map(str, (began, place, back)), options, *command],
        capture_output=True, text=True, check=False, env=environment(),
    )  # fmt: skip
    said = Said(status=done.returncode, out=done.stdout, err=done.stderr)
    wrong = "" if said.status == 0 else told_once(said, (1, 2)) or left_behind(back)
    when = f"{share:.0%}, status {said.status}: {said.message}"
    return Stop(what=f"disk full in {kind}", when=when, wrong=wrong or continued(shop, back))


def few_files(shop: Shop, seed: int, turn: int) -> Stop:
    """So few open files that the command refuses to begin, in every other turn hardly more than it asks for."""
    least, most = (8, LEAST_OPEN_FILES) if turn % 2 == 0 else (LEAST_OPEN_FILES, LEAST_OPEN_FILES + 16)
    count = int(np.random.default_rng([seed, 5, turn]).integers(least, most))
    return _limited(shop, "open files", "NOFILE", count, f"{count}")


def little_memory(shop: Shop, seed: int, turn: int) -> Stop:
    """An address space that ends somewhere; libraries in C may then end the process by a signal."""
    size = int(np.random.default_rng([seed, 6, turn]).uniform(0.5, 6) * 2**30)
    return _limited(shop, "memory", "AS", size, f"{size / 2**30:.1f} GiB", anew=True)


def _limited(shop: Shop, what: str, limit: str, value: int, when: str, *, anew: bool = False) -> Stop:
    store = shop.copy("validate")
    said = shop.start(store, program=LIMIT.format(what=limit, value=value), anew=anew).end()
    wrong = ""
    if said.status == NOT_ENDED or (said.status > 0 and said.began):
        wrong = told_once(said, (1, 2)) or left_behind(store)
    return Stop(what=what, when=f"{when}, status {said.status}", wrong=wrong or continued(shop, store))


def _blocks(store: Path) -> int:
    """As a tmpfs counts them."""
    return sum(-(-path.lstat().st_size // BLOCK) if path.is_file() else 0 for path in store.rglob("*"))


def _inodes(store: Path) -> int:
    return sum(1 for _ in store.rglob("*")) + 1


def clock(shop: Shop, seed: int, turn: int) -> Stop:
    """`time.time` jumps, by up to ten days to either side, at some second of the night."""
    rng = np.random.default_rng([seed, 7, turn])
    jump, after = float(rng.uniform(-10, 10)) * 86_400, float(rng.uniform(0, FORKED))
    store = shop.copy("validate")
    said = shop.start(store, program=JUMP.format(jump=jump, after=after)).end()
    wrong = "" if said.status == 0 else f"status {said.status}: {said.err[-600:]}"
    when = f"by {jump / 86_400:+.1f} days after {after:.1f} s"
    return Stop(what="a clock that jumps", when=when, wrong=wrong or continued(shop, store))


JUMP = """
import time
plain, begun = time.time, time.monotonic()

def jumped():
    return plain() + ({jump} if time.monotonic() - begun > {after} else 0)

time.time, time.time_ns = jumped, lambda: int(jumped() * 1e9)
"""
"""`datetime.now` asks the system and does not see it."""
