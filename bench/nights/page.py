"""docs/measurements/nights.md: what was drawn, what is right, what was seen."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

from bench.__main__ import machine
from bench.nights.kinds import FINISHED
from bench.nights.night import Night

BEGUN, NIGHTS = "begun.json", "nights.json"
KEPT = "<!-- kept: what follows is not written by the program -->"


@dataclass(frozen=True, kw_only=True)
class Begun:
    """How the nights began."""

    nights: int
    seed: int
    items: int
    users: int
    commit: str


def told(night: Night) -> str:
    """A night on one line, for whoever watches."""
    wrong = "" if night.as_it_should else "  <- NOT AS IT SHOULD BE"
    statuses = ", ".join(map(str, night.statuses))
    return (
        f"night {night.number:02}  {drawn(night)}: {night.seen} ({statuses}); "
        f"champion {night.champion}, {night.seconds:.0f} s{wrong}"
    )


def drawn(night: Night) -> str:
    """What was drawn, and in which stage it came."""
    return f"{night.kind}, in {night.when}" if night.when else night.kind


def begin(out: Path, wanted: Begun) -> None:
    """Keep how the nights began; those that are continued keep the commit of their beginning."""
    file = out / BEGUN
    if not file.exists():
        file.write_text(json.dumps(asdict(wanted)), encoding="utf-8")
    found = read_begun(out)
    if replace(found, commit=wanted.commit) != wanted:
        raise SystemExit(f"{out} has nights that began as {found}, asked for {wanted}; choose another folder")


def read_begun(out: Path) -> Begun:
    """How the nights in a folder began."""
    return Begun(**json.loads((out / BEGUN).read_text(encoding="utf-8")))


def read_nights(out: Path) -> list[Night]:
    """Those that are done."""
    file = out / NIGHTS
    return [Night(**night) for night in json.loads(file.read_text(encoding="utf-8"))] if file.exists() else []


def page(out: Path, spent: Sequence[Night], old: Path) -> str:
    """The page; what people have written at the end of the `old` one stays."""
    text = old.read_text(encoding="utf-8") if old.exists() else ""
    kept = KEPT + text.partition(KEPT)[2] if KEPT in text else KEPT + "\n"
    return "\n".join([*heading(spent, read_begun(out)), *summary(spent), *by_kind(spent), *by_night(spent), kept])


def heading(spent: Sequence[Night], begun: Begun) -> list[str]:
    """What this is, and how to make it again."""
    command = (
        f"python -m bench.nights --nights {begun.nights} --seed {begun.seed} "
        f"--items {begun.items} --users {begun.users}"
    )
    missing = f" The first {len(spent)} of {begun.nights} nights." if len(spent) < begun.nights else ""
    return [
        f"# {len(spent)} nights",
        "",
        f"Written by `{command}`. {datetime.now(UTC):%-d %B %Y}, {begun.commit}; {machine()}.{missing}",
        "",
        "Each night is `microrec run --run-id night-NN` on a sample to which 1 % of interactions, and now and then an",
        "item or a user, are added every night. Half of the nights have a fault, drawn from the kinds of",
        "`bench/nights/kinds.py` as from a shuffled deck; the first two have none. What is right follows from what was",
        "drawn. A try that ends with exit status 1 or a signal is made again, at most twice, as Airflow does.",
        "",
    ]


def summary(spent: Sequence[Night]) -> list[str]:
    """The figures that count."""
    good = [night for night in spent if night.blame in ("nothing", "machine")]
    rows = {
        "nights; with a fault": f"{len(spent)}; {sum(night.kind != 'none' for night in spent)}",
        "wrong champions after a night": str(sum(night.wrong_champion for night in spent)),
        "good nights (input and settings faultless); promoted": f"{len(good)}; {sum(n.seen in FINISHED for n in good)}",
        "good nights lost": str(sum(night.lost for night in spent)),
        "first good night after a faulty input or setting; promoted": recovered(spent),
        "nights that ended otherwise than is right": str(sum(not night.as_it_should for night in spent)),
        "seconds of a night without fault, median": f"{median_seconds(spent):.0f}",
    }
    return ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items()), ""]


def recovered(spent: Sequence[Night]) -> str:
    """How many good nights that follow a refused one were promoted."""
    after = [
        night
        for before, night in pairwise(spent)
        if before.blame in ("input", "model", "operator") and night.blame in ("nothing", "machine")
    ]
    return f"{len(after)}; {sum(night.seen in FINISHED for night in after)}"


def median_seconds(spent: Sequence[Night]) -> float:
    """Of the nights without fault after the first, which encodes all contents."""
    seconds = sorted(night.seconds for night in spent[1:] if night.kind == "none")
    return seconds[len(seconds) // 2] if seconds else float("nan")


def by_kind(spent: Sequence[Night]) -> list[str]:
    """A row for each kind of fault."""
    lines = ["## By kind of fault", "", "| fault | right | nights | as it should |", "|---|---|---|---|"]
    for name in dict.fromkeys(night.kind for night in sorted(spent, key=lambda night: (night.blame, night.kind))):
        nights = [night for night in spent if night.kind == name]
        right = " or ".join(nights[0].right)
        lines.append(f"| {name} | {right} | {len(nights)} | {sum(night.as_it_should for night in nights)} |")
    return [*lines, ""]


def by_night(spent: Sequence[Night]) -> list[str]:
    """A row for each night."""
    lines = [
        "## By night",
        "",
        "| night | drawn | seen | exit status of each try | champion after it | s |",
        "|---|---|---|---|---|---|",
    ]
    for night in spent:
        statuses = ", ".join(map(str, night.statuses)) + (f"; {night.note}" if night.note else "")
        seen = night.seen if night.as_it_should else f"**{night.seen}**"
        if night.verified is not None:
            seen += ", verified" if night.verified else ", **not verified**"
        champion = f"**{night.champion}: wrong**" if night.wrong_champion else night.champion
        lines.append(f"| {night.number} | {drawn(night)} | {seen} | {statuses} | {champion} | {night.seconds:.0f} |")
    return [*lines, ""]
