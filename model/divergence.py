"""Whether a training still has numbers: where an epoch lost them first, and what to suspect."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from model.objective import Terms
from model.parallel import Columns

LARGEST_PARAMETER = 1e18
"""Largest absolute value: float32 cannot square much larger ones, so lengths and products become infinite next."""
TERMS = ("loss", "ranking loss", "contrastive loss")
"""What `EpochLosses` follows, the sum first."""
SUSPECTS = {
    "loss": "train.objective.l2 or train.learning_rate",
    "ranking loss": "train.learning_rate",
    "contrastive loss": "train.learning_rate or train.objective.contrastive_weight",
}
"""The settings to lower, by the loss that was infinite or NaN first."""


class DivergedError(RuntimeError):
    """The loss, a parameter or what the optimiser keeps became NaN, infinite or too large to go on."""


class EpochLosses:
    """Sums of the losses over the steps of an epoch; the device is not waited for before `means`."""

    def __init__(self, device: torch.device) -> None:
        self.steps = 0
        self._total_3 = torch.zeros(3, device=device)
        self._first_bad_3 = torch.full((3,), torch.inf, device=device)

    def add(self, terms: Terms) -> None:
        """One step's."""
        step_3 = torch.stack([terms.total.detach(), terms.ranking.detach(), terms.contrastive.detach()])
        self.steps += 1
        self._total_3 += step_3
        self._first_bad_3 = torch.where(
            torch.isfinite(step_3), self._first_bad_3, self._first_bad_3.clamp(max=self.steps)
        )

    def means(self) -> "Means":
        """Read from the device, once."""
        total, first_bad = torch.stack([self._total_3 / max(1, self.steps), self._first_bad_3]).tolist()
        loss, ranking, contrastive = total
        step = min(first_bad)
        if math.isinf(step):
            return Means(loss, ranking, contrastive, None)
        # Both terms are parts of the sum: suspect the sum only if neither of them is bad.
        term = next(term for term in (1, 2, 0) if first_bad[term] == step)
        return Means(loss, ranking, contrastive, FirstBad(step=int(step), of=self.steps, term=TERMS[term]))


@dataclass(frozen=True, kw_only=True)
class FirstBad:
    """The first step of an epoch whose loss was no number."""

    step: int
    """Counted from 1."""
    of: int
    term: str
    """Of `TERMS`."""


@dataclass(frozen=True)
class Means:
    """Mean losses of an epoch."""

    loss: float
    ranking: float
    contrastive: float
    first_bad: FirstBad | None
    """None where every step's loss was finite."""


@torch.no_grad()
def largest_entries(tensors: Mapping[str, Tensor], columns: Columns) -> dict[str, float]:
    """The largest absolute entry of each tensor, over all processes; infinite if one is NaN."""
    filled = {name: value for name, value in tensors.items() if value.numel()}
    if not filled:
        return {}
    norms = [torch.linalg.vector_norm(value, torch.inf) for value in filled.values()]
    largest = columns.largest(torch.stack(norms).nan_to_num(nan=torch.inf, posinf=torch.inf))
    return dict(zip(filled, largest.tolist(), strict=True))


def require_numbers(
    epoch: int, means: Means, before: Mapping[str, float], after: Mapping[str, float], learning_rate: float
) -> None:
    """Raise `DivergedError` where an epoch has lost its numbers, saying at which step and what to suspect.

    Args:
        epoch: counted from 1.
        before, after: `largest_entries` of the parameters, and after the epoch also of the optimiser's second moments.
        learning_rate: as configured.
    """
    worst = max(after, key=lambda name: after[name], default="")
    if means.first_bad:
        bad = means.first_bad
        what = f"at step {bad.step} of {bad.of} the {bad.term} became NaN or infinite"
        suspect = SUSPECTS[bad.term]
    elif not math.isfinite(means.loss):
        what, suspect = f"the mean loss became {means.loss}", SUSPECTS["loss"]
    elif worst and after[worst] > (LARGEST_PARAMETER if worst in before else torch.finfo(torch.float32).max):
        told = f"{after[worst]:.3g}" if math.isfinite(after[worst]) else "NaN or infinite"
        what, suspect = f"at its end {worst} was {told}", "train.learning_rate"
    else:
        return
    largest = max(before, key=lambda name: before[name], default="")
    grown = f"; before this epoch the largest parameter was {before[largest]:.3g}, in {largest}" if largest else ""
    raise DivergedError(
        f"training diverged in epoch {epoch}: {what}{grown}; lower {suspect} (train.learning_rate is {learning_rate:g})"
    )
