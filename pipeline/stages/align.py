"""Brings what was trained into the champion's space before it is exported (docs/decisions/0032-one-space.md).

Parameters and the files of stage `train` stay in the training's own space; a release carries its rotation, so that
vectors that are made later (`serving.embed`) go the same way. Shapes: I items, U users, R rows, D dimension.
"""

from dataclasses import dataclass, field

import numpy as np
import polars as pl
import pyarrow as pa

from pipeline import stages
from pipeline.columns import CONTENT_EMBEDDING, EMBEDDING, ITEM_ID, USER_ID
from pipeline.dataset.alignment import rows_of
from pipeline.dataset.dataset import Dataset
from pipeline.errors import DamagedError
from pipeline.registry.predecessor import Predecessor, predecessor
from pipeline.release.format import ITEM_EMBEDDINGS, USER_VECTORS
from pipeline.release.manifest import Manifest, read_manifest
from pipeline.release.rotation import procrustes, residual, rotated, score_length, settled
from pipeline.release.sound import sound_table
from pipeline.release.space import Space
from pipeline.run import Run
from pipeline.storage.arrow import vectors_of
from pipeline.storage.files import is_complete

ITEM_VECTORS, USERS, CONTENT = "item_ID", "user_UD", "content_ID"
"""Names in the file of vectors."""
NO_ALIGNMENT = "export.align is 'none'"


@dataclass(frozen=True, kw_only=True)
class Former:
    """The champion's release, and where today's rows stand in it."""

    manifest: Manifest
    items: pa.Table
    users: pa.Table
    row_I: np.ndarray
    """Row of each of today's items; -1 for a new one."""
    row_U: np.ndarray

    def pair(self, side: str, now_RD: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The rows that both know of one matrix of today's vectors, tonight's first, float32 (R, D) each."""
        table, row_R = (self.users, self.row_U) if side == USERS else (self.items, self.row_I)
        known_R = row_R >= 0
        then_RD = vectors_of(table, CONTENT_EMBEDDING if side == CONTENT else EMBEDDING)
        return now_RD[known_R], then_RD[row_R[known_R]]


@dataclass(frozen=True, kw_only=True)
class Aligned:
    """Vectors as a release has them."""

    vectors: dict[str, np.ndarray]
    space: Space
    rotations: dict[str, np.ndarray] = field(default_factory=dict)
    """By vector column of the release, float64 (D, D); none of a first release."""
    former: Former | None = None
    """What they were aligned to."""


def align(run: Run, dataset: Dataset, vectors: dict[str, np.ndarray]) -> Aligned:
    """Rotate trained vectors into the space of the champion that stood when the run began, or begin a line.

    Raises `StoreError` where that champion's release is gone.
    """
    if run.config.export.align == "none":
        return _first(run, vectors, NO_ALIGNMENT)
    before = predecessor(run.path, run.store)
    if before.run_id is None:
        return _first(run, vectors, before.reason or "there was no champion when the run began")
    former = _former(run, before, dataset)
    reason = _why_new_line(run, former, dataset)
    return _first(run, vectors, reason) if reason else _aligned(run, former, vectors)


def _first(run: Run, vectors: dict[str, np.ndarray], reason: str) -> Aligned:
    run.reporter.say(f"export: release {run.id} begins a line of its own: {reason}")
    return Aligned(vectors=vectors, space=Space(first=run.id, reason=reason))


def _former(run: Run, before: Predecessor, dataset: Dataset) -> Former:
    release = run.store.release(before.run_id or "")
    there = is_complete(release)
    if not there or (manifest := read_manifest(release, before.manifest_sha256)).release_digest != before.digest:
        raise DamagedError(
            f"run {run.id} is to be aligned to release {before.run_id}, champion when it began, which is no longer in "
            f"{run.store.releases}; put the release back, or begin a line of its own with "
            f"`microrec run --run-id {run.id} --set export.align=none`, or use a new run id"
        )
    items, users = sound_table(release, ITEM_EMBEDDINGS), sound_table(release, USER_VECTORS)
    return Former(
        manifest=manifest,
        items=items,
        users=users,
        row_I=rows_of(dataset.items[ITEM_ID], pl.Series(items.column(ITEM_ID))),
        row_U=rows_of(dataset.users[USER_ID], pl.Series(users.column(USER_ID))),
    )


def _why_new_line(run: Run, former: Former, dataset: Dataset) -> str | None:
    """What makes the champion's space another one; None where it can be gone on with."""
    then, now = former.manifest, run.config.model
    pairs = {
        "model.embedding_dim": (then.embedding_dim, now.embedding_dim),
        "model.backbone": (then.config.get("model", {}).get("backbone", now.backbone), now.backbone),
        f"the type of {ITEM_ID}": (_kind(former.items, ITEM_ID), _kind(dataset.items.to_arrow(), ITEM_ID)),
        f"the type of {USER_ID}": (_kind(former.users, USER_ID), _kind(dataset.users.to_arrow(), USER_ID)),
    }
    for name, (before, today) in pairs.items():
        if before != today:
            return f"{name} was {before} in release {then.run_id}, the champion, and is {today} now"
    if not (former.row_I >= 0).any():
        return f"release {then.run_id}, the champion, has no item of today's catalogue"
    return None


def _kind(table: pa.Table, column: str) -> str:
    kind = table.schema.field(column).type
    return str(kind) if pa.types.is_integer(kind) else "text"


def _aligned(run: Run, former: Former, vectors: dict[str, np.ndarray]) -> Aligned:
    rotation_DD = procrustes([former.pair(side, vectors[side]) for side in (ITEM_VECTORS, USERS)])
    # Joined and cut with taste, items are no longer in the space of their content.
    then = former.manifest.training
    joined = any(run.require(stages.TRAIN).taste_weights.values()) or bool(then and any(then.taste_weights.values()))
    content_DD = procrustes([former.pair(CONTENT, vectors[CONTENT])]) if joined else rotation_DD
    turns = {ITEM_VECTORS: rotation_DD, USERS: rotation_DD, CONTENT: content_DD}
    turned = {side: rotated(vectors[side], turn_DD) for side, turn_DD in turns.items()}
    space = _space(former, turned)
    for side in turns:
        known_R = (former.row_U if side == USERS else former.row_I) >= 0
        turned[side][known_R] = settled(*former.pair(side, turned[side]))
    run.reporter.say(
        f"export: rotated into the space of release {space.champion}, in the line of {space.first}; residual: "
        f"{space.residual['items']:.3f} of the items' vectors, {space.residual['users']:.3f} of the users'"
    )
    return Aligned(
        vectors={**vectors, **turned},
        space=space,
        rotations={EMBEDDING: rotation_DD, CONTENT_EMBEDDING: content_DD},
        former=former,
    )


def _space(former: Former, turned: dict[str, np.ndarray]) -> Space:
    then = former.manifest
    line = then.space or Space(first=then.run_id)  # an earlier version's release is the first of its line
    items, users, content = (former.pair(side, turned[side]) for side in (ITEM_VECTORS, USERS, CONTENT))
    before = score_length(users[1], items[1])
    scale = score_length(users[0], items[0]) / before if before > 0 else 1.0
    return Space(
        first=line.first,
        champion=then.run_id,
        champion_digest=then.release_digest,
        known={"items": len(items[0]), "users": len(users[0])},
        residual={"items": residual(*items), "users": residual(*users), "content": residual(*content)},
        score_scale=scale,
        line_score_scale=scale * line.line_score_scale,
    )
