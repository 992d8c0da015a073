"""Refines a cut by distillation: the D columns learn to rank as all J do. The truncated decomposition alone only
approximates all pairs alike.

    loss = mean over users u of KL(softmax over i of s_ui / t || softmax over i of s'_ui / t)

with s the score of all J columns, s' that of the cut and t the standard deviation of s: the listwise distillation of
Hinton, Vinyals & Dean (arXiv:1503.02531) with items as classes. Only the two linear maps are learned, so that an item
that comes later is cut like all others. Users and items are sampled: the cost does not grow with the catalogue.
Shapes: U users, B of a step, I items, C of a step, J joined columns, D dimension.
"""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from model.finishing.joining import Cut, Joining


@dataclass(frozen=True, kw_only=True)
class Distillation:
    """How long and by how much; docs/decisions/0031-taste.md has the measurement."""

    steps: int = 120
    users: int = 256
    """B."""
    items: int = 4096
    """C at most."""
    rate: float = 0.04
    """Learning rate of Adam, relative to the standard deviation of a map's entries; falls to 0 linearly."""


DISTILLATION = Distillation()
USERS_AT_MOST, ITEMS_AT_MOST = 1 << 14, 1 << 16
"""Most users and items whose columns are made once; all steps draw from these."""


def distil(joining: Joining, cut: Cut, weights: dict[str, float], settings: Distillation = DISTILLATION) -> Cut:
    """The cut refined, with the same weights; deterministic on a CPU."""
    generator = Generator(cut.item_JD.device).manual_seed(0)
    weight_J = joining.column_weights(weights)
    user_JD, item_JD = (map_JD.clone().requires_grad_() for map_JD in (cut.user_JD, cut.item_JD))
    groups = [{"params": [map_JD], "lr": settings.rate * float(map_JD.detach().std())} for map_JD in (user_JD, item_JD)]
    optimizer = torch.optim.Adam(groups)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, settings.steps)
    user_UJ = joining.users(_drawn(joining.num_users, USERS_AT_MOST, generator))
    item_IJ = joining.items(_drawn(joining.num_items, ITEMS_AT_MOST, generator))
    spread: Tensor | None = None
    for _ in range(settings.steps):
        user_BJ = user_UJ[_drawn(len(user_UJ), settings.users, generator)]
        item_CJ = item_IJ[_drawn(len(item_IJ), settings.items, generator)]
        target_BC = (user_BJ * weight_J) @ item_CJ.T
        spread = target_BC.std() if spread is None else spread
        loss = _divergence(target_BC / spread, (user_BJ @ user_JD) @ (item_CJ @ item_JD).T / spread)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
    return Cut(user_JD.detach(), item_JD.detach())


def _drawn(count: int, most: int, generator: Generator) -> Tensor:
    """Distinct indices, all where there are no more."""
    return torch.randperm(count, generator=generator, device=generator.device)[:most]


def _divergence(target_BC: Tensor, found_BC: Tensor) -> Tensor:
    log_target_BC, log_found_BC = target_BC.log_softmax(1), found_BC.log_softmax(1)
    return (log_target_BC.exp() * (log_target_BC - log_found_BC)).sum(1).mean()
