"""Baselines that are trained by the loop that trains the model."""

from collections.abc import Mapping
from itertools import product
from typing import Any

from model.baselines.freedom import Freedom
from model.baselines.mgcn import Mgcn
from model.baselines.vbpr import Vbpr
from pipeline.experiments.compare.contestant import Contestant, Settings
from pipeline.experiments.compare.settings import (
    BPR,
    BPR_CHOICES,
    BPR_STEP,
    L2,
    L2_STEP,
    PAPER,
    SOFTMAX,
    SOFTMAX_CHOICES,
    SQUARES,
    SQUARES_CHOICES,
)

LOSSES: Mapping[str, tuple[Settings, tuple[Settings, ...], Mapping[str, float]]] = {
    "bpr": (BPR, BPR_CHOICES, BPR_STEP),
    "softmax": (SOFTMAX, SOFTMAX_CHOICES, L2_STEP),
    "squares": (SQUARES, SQUARES_CHOICES, L2_STEP),
}
"""Of each ranking loss: its settings, the choices that are begun with, and how they are searched further."""


def trained_baselines(modalities: list[str]) -> list[Contestant]:
    """In the order of the table."""
    return [
        *(
            _with_bpr(name, {"model.backbone": backbone, "model.modalities": ()})
            for name, backbone in (("mf-bpr", "mf"), ("lightgcn", "lightgcn"), ("ngcf", "ngcf"))
        ),
        *(_without_content(backbone, ranking) for ranking in ("softmax", "squares") for backbone in ("mf", "lightgcn")),
        *(_with_content(modalities) if modalities else []),
        _by_the_authors("micro-paper", {}),
        _by_the_authors("micro-paper-sampled", {"train.objective.contrastive": "sampled"}),
    ]


def _with_content(modalities: list[str]) -> list[Contestant]:
    leading = [{name: 9.0 if name == leader else 1.0 for name in modalities} for leader in modalities]
    freedom = tuple(
        {L2: 1e-3, "own.dropout": dropout, "own.shares": shares, "own.modality_weight": 0.1}
        for shares, dropout in product(leading, (0.0, 0.8))
    )
    mgcn = tuple({L2: 1e-2, "own.contrast": weight} for weight in (1e-3, 1e-2, 0.1))
    return [
        _with_bpr("vbpr", {}, model=Vbpr),
        _with_bpr("lattice", {"model.fusion": "graph", "model.taste_weight": 0.0, "model.new_items": "map"}),
        _with_bpr("freedom", {}, freedom, {L2: 3.0, "own.modality_weight": 10.0}, model=Freedom),
        _with_bpr("mgcn", {}, mgcn, {L2: 3.0, "own.contrast": 10.0}, model=Mgcn),
    ]


def _with_bpr(
    name: str,
    settings: Settings,
    choices: tuple[Settings, ...] = BPR_CHOICES,
    steps: Mapping[str, float] = BPR_STEP,
    **options: Any,
) -> Contestant:
    return Contestant(
        name=name,
        group="baseline",
        settings={**BPR, "train.objective.contrastive_weight": 0.0, **settings},
        choices=choices,
        steps=steps,
        is_embedding=True,
        **options,
    )


def _without_content(backbone: str, ranking: str) -> Contestant:
    settings, choices, steps = LOSSES[ranking]
    return Contestant(
        name=f"{backbone}-{ranking}",
        group="baseline",
        settings={"model.backbone": backbone, "model.modalities": (), **settings},
        choices=choices,
        steps=steps,
        is_embedding=True,
    )


def _by_the_authors(name: str, changes: Settings) -> Contestant:
    return Contestant(name=name, group="baseline", settings={**PAPER, **changes}, is_embedding=True)
