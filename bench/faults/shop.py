"""A small catalogue, its store after every stage of a second night, and what that night comes to undisturbed."""

import contextlib
import io
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from bench.faults.child import STAGES, Child, Said, begin, fork
from bench.faults.loaded import LIST, write_list
from pipeline.cli import main
from pipeline.sample import write_sample

FIRST, SECOND = "r1", "r2"
SETTINGS = (
    *("train.max_epochs=4", "train.device=cpu", "train.check_every=2", "model.embedding_dim=8"),
    *("train.objective.l2=0.5", "model.content_weight=0.3", "train.objective.contrastive_weight=0.01"),
    "gate.baselines=[]",  # four epochs are worse than item-kNN
)
TRAINING, FINISHED = "training", "finished"
"""Moments besides the stages' ends: there are checkpoints and nothing is committed; the night is over."""


@dataclass(frozen=True, kw_only=True)
class Shop:
    """The catalogue, and copies of its store."""

    folder: Path

    def arguments(self, store: Path | str, name: str, *more: str) -> list[str]:
        """Of a command on a store."""
        overrides = [part for one in (*SETTINGS, f"store.root={store}") for part in ("--set", one)]
        return [name, *more, "-c", str(self.folder / "microrec.toml"), *overrides]

    def microrec(self, store: Path, name: str, *more: str) -> Said:
        """Run a command in this process, which has loaded torch."""
        out, err, status = io.StringIO(), io.StringIO(), 0
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                main(self.arguments(store, name, *more))
            except SystemExit as done:
                status = int(done.code or 0)
        return Said(status=status, out=out.getvalue(), err=err.getvalue())

    def start(
        self,
        store: Path | str,
        *more: str,
        name: str = "",
        program: str = "",
        anew: bool = False,
        environ: Mapping[str, str] | None = None,
    ) -> Child:
        """Run the second night in a process of its own, or the command `name`.

        Args: program: Python that is done first. anew: in a new interpreter, not in a fork. environ: beside this
        process's.
        """
        asked = [name, *more] if name else ["run", "--run-id", SECOND, "--json", *more]
        os.environ[LIST] = str(self.modules)
        return (begin if anew else fork)(
            self.arguments(store, asked[0], *asked[1:]), program, {**environment(), **(environ or {})}
        )

    @property
    def modules(self) -> Path:
        """List of what a night loads."""
        return self.folder / "modules.json"

    def snapshot(self, moment: str) -> Path:
        """The store at the end of a stage, or at one of the other moments."""
        return self.folder / "snapshots" / moment

    def copy(self, moment: str) -> Path:
        """That store, to be damaged, in a place of its own: MLflow keeps what it knows of a database by its name."""
        own = f"copy-{os.getpid()}-"
        for old in self.folder.glob(f"{own}*"):
            shutil.rmtree(old)
        place = Path(tempfile.mkdtemp(prefix=own, dir=self.folder)) / "store"
        shutil.copytree(self.snapshot(moment), place, symlinks=True)
        return place

    def finish(self, store: Path) -> tuple[Said, dict[str, Any]]:
        """Continue the second night; what it comes to, nothing where it does not end well."""
        said = self.microrec(store, "run", "--run-id", SECOND, "--json")
        return said, come_to(json.loads(said.out)) if said.status == 0 else {}

    def recommend(self, store: Path) -> Said:
        """Ask for a list with its reasons, which are made of the run's own files."""
        return self.microrec(store, "recommend", "--why", "--user", self.user, "--release", SECOND, "--json")

    def embed(self, store: Path) -> Said:
        """Embed the catalogue's items, which are known."""
        items, out = str(self.folder / "items.parquet"), str(store / "embedded")
        return self.microrec(store, "embed", "--items", items, "--out", out, "--release", SECOND)

    @property
    def user(self) -> str:
        """Some user."""
        return str(
            pl.read_parquet(self.snapshot(FINISHED) / "runs" / SECOND / "prepare" / "users.parquet")["user_id"][0]
        )

    @property
    def list(self) -> str:
        """What `recommend` answers."""
        return (self.folder / "list.json").read_text()

    @property
    def undisturbed(self) -> dict[str, Any]:
        """What the second night comes to."""
        found: dict[str, Any] = json.loads((self.folder / "undisturbed.json").read_text())
        return found

    @property
    def cold(self) -> Sequence[dict[str, Any]]:
        """`result` of the second night and its `list`, if the first one's training, or its data, cannot be read."""
        found: Sequence[dict[str, Any]] = json.loads((self.folder / "cold.json").read_text())
        return found


def environment() -> dict[str, str]:
    """Of a process that may run beside others."""
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def come_to(summary: dict[str, Any]) -> dict[str, Any]:
    """What must not depend on what happened on the way."""
    same = {name: summary[name] for name in ("release", "digest", "counts", "metrics", "gate", "held")}
    return {**same, "release": Path(summary["release"]).name, "alias": summary["mlflow"]["alias"]}


def write_catalogue(folder: Path) -> None:
    """Pictures and texts of 40 items, and what 60 users did; the texts' encoder takes no time."""
    write_sample(folder, num_items=40, num_users=60, seed=0)
    settings = folder / "microrec.toml"
    text = settings.read_text(encoding="utf-8")
    settings.write_text(text.replace('"all-minilm-l6-v2"', '"hashed-words:32"'), encoding="utf-8")


def open_shop(folder: Path, write: Callable[[Path], object] = write_catalogue) -> Shop:
    """Make it, a minute's work; one that is there is used again.

    Args: write: puts the catalogue and `microrec.toml` into the folder.
    """
    shop = Shop(folder=folder)
    if (folder / "cold.json").exists():
        return shop
    write(folder)
    store = folder / "first"
    _require(shop.microrec(store, "run", "--run-id", FIRST))
    for stage in STAGES:
        if stage == "export":
            _require(shop.microrec(store, "gate", "--run-id", SECOND))
        _require(shop.microrec(store, stage, "--run-id", SECOND))
        shutil.copytree(store, shop.snapshot(stage), symlinks=True)
    shutil.copytree(shop.snapshot("train"), shop.snapshot(TRAINING))
    shutil.rmtree(shop.snapshot(TRAINING) / "runs" / SECOND / "train")
    said, result = shop.finish(store)
    _require(said)
    shutil.copytree(store, shop.snapshot(FINISHED), symlinks=True)
    (folder / "list.json").write_text(shop.recommend(store).out)
    write_list(shop.modules)
    (folder / "undisturbed.json").write_text(json.dumps(result))
    (folder / "cold.json").write_text(json.dumps([_without(shop, stage) for stage in ("train", "prepare")]))
    return shop


def _without(shop: Shop, stage: str) -> dict[str, Any]:
    """The second night and its list, without what a stage of the first one has made."""
    store = shop.copy("prepare")
    shutil.rmtree(store / "runs" / FIRST / stage)
    said, result = shop.finish(store)
    _require(said)
    return {"result": result, "list": shop.recommend(store).out}


def _require(said: Said) -> None:
    if said.status:
        raise RuntimeError(f"the undisturbed night ends with {said.status}: {said.err[-2000:]}")
