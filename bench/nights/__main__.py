"""Spend the nights and write the page: `python -m bench.nights`.

Exit status 1 where a night has ended otherwise than is right.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from bench.__main__ import commit
from bench.nights.catalogue import open_shop
from bench.nights.kinds import KINDS, Kind, draw
from bench.nights.night import Night, Nights
from bench.nights.page import NIGHTS, Begun, begin, page, read_nights, told

PAGE = Path("docs/measurements/nights.md")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nights", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--items", type=int, default=200)
    parser.add_argument("--users", type=int, default=400)
    parser.add_argument(
        "--out", type=Path, help="folder for shop, store and logs; the same one continues; default a new one"
    )
    parser.add_argument("--page", type=Path, default=PAGE)
    asked = parser.parse_args()
    out = asked.out or Path(tempfile.mkdtemp(prefix="nights-"))
    spent = spend_all(out, asked.nights, asked.seed, items=asked.items, users=asked.users)
    asked.page.write_text(page(out, spent, asked.page), encoding="utf-8")
    print(f"written: {asked.page}")
    sys.exit(0 if all(night.as_it_should for night in spent) else 1)


def spend_all(
    out: Path,
    nights: int,
    seed: int,
    *,
    items: int,
    users: int,
    kinds: Sequence[Kind] = KINDS,
    settings: tuple[str, ...] = (),
) -> list[Night]:
    """All nights, one after the other; `nights.json` in `out` has those that are done, and they are not done again."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the sample is small, and this may run beside other work
    out.mkdir(parents=True, exist_ok=True)
    begin(out, Begun(nights=nights, seed=seed, items=items, users=users, commit=commit()))
    shop = open_shop(out.resolve() / "shop", items=items, users=users, nights=nights, seed=seed)
    these, spent = Nights(shop, out.resolve(), seed, settings), read_nights(out)
    drawn = draw(nights, kinds, np.random.default_rng([seed, 3]))
    these.recall(spent, drawn)
    for number, kind in list(enumerate(drawn, start=1))[len(spent) :]:
        spent.append(these.spend(number, kind))
        print(told(spent[-1]), file=sys.stderr, flush=True)
        (out / NIGHTS).write_text(json.dumps([asdict(night) for night in spent], indent=1), encoding="utf-8")
    return spent


if __name__ == "__main__":
    main()
