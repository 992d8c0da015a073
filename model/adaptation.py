"""Weights that training finds for itself: L2, the contrastive term's and the content's, where they are `auto`.

Training begins with weights that did well elsewhere. Once it has stopped gaining, it goes on from its best state with
one weight changed. A change that gains is kept and made again; one that does not is taken back, and the opposite is
tried. A wrong L2 shows within two checks: the parameters follow it in a few epochs, from wherever they are. So all
changes together cost less than the training before them (docs/decisions/0033-no-knobs.md).

Adaptation of regularisation in training, by validation: Rendle, WSDM 2012, there by a gradient.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from model.config import ModelConfig, ObjectiveConfig, Weights, given_weights, starting_weights

CHECKS = 2
"""Without gain, after which a change is given up."""
STEPS = {"l2": 1.4, "content_weight": 2.0, "contrastive_weight": 4.0}
"""Factor of a change: the best L2 is narrow, the others' are wide."""
ERRORS = 0.5
"""Standard errors of validation by which a change must gain at first; the best of many checks is partly luck."""


@dataclass(frozen=True)
class Change:
    """Of one weight."""

    name: str
    factor: float


class Adaptation:
    """Which weights are in use, which are best so far, and what is tried next."""

    def __init__(self, weights: Weights, names: list[str]) -> None:
        """Begin with `weights`; those in `names` may be changed."""
        self.weights = self.best = weights
        self._changes = [Change(name, factor) for name in names for factor in (STEPS[name], 1 / STEPS[name])]
        self._place = -1
        self._gained = self._gained_before = False
        self.first_epoch = self.began = 0
        """Epochs after which the first change and this one were made; 0 before."""

    @property
    def under_way(self) -> bool:
        """Whether a change is being tried."""
        return self._place >= 0

    def goes_on(self, epoch: int) -> bool:
        """Whether there is another change to try, and time: as much as there was before the first."""
        in_time = not self.under_way or epoch < 2 * self.first_epoch
        return in_time and self._next() < len(self._changes)

    def needed(self, best_metric: float, num_users: int) -> float:
        """What a check must exceed to be the best so far: a first gain by more than luck."""
        if not self.under_way or self._gained:
            return best_metric
        share = min(max(best_metric, 0.0), 1.0)
        return best_metric + ERRORS * math.sqrt(share * (1 - share) / max(1, num_users))

    def gain(self) -> None:
        """The weights in use are the best so far."""
        self.best, self._gained = self.weights, True

    def change(self, epoch: int) -> Weights:
        """Make the next change of the best weights, which come into use."""
        place = self._next()
        self._gained_before = self._gained and place == self._place
        self._place, self._gained, self.began = place, False, epoch
        self.first_epoch = self.first_epoch or epoch
        change = self._changes[place]
        self.weights = replace(self.best, **{change.name: change.factor * getattr(self.best, change.name)})
        return self.weights

    def _next(self) -> int:
        """The same change again where it has gained, else the opposite, else another weight's."""
        if not self.under_way or self._gained:
            return max(0, self._place)
        passes_opposite = self._gained_before and self._place % 2 == 0
        return self._place + (2 if passes_opposite else 1)

    def state(self) -> dict[str, Any]:
        """Plain JSON values, for a checkpoint."""
        return {
            "weights": asdict(self.weights),
            "best": asdict(self.best),
            "place": self._place,
            "gained": self._gained,
            "gained_before": self._gained_before,
            "first_epoch": self.first_epoch,
            "began": self.began,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken."""
        self.weights, self.best = Weights(**state["weights"]), Weights(**state["best"])
        self._place, self._gained, self._gained_before = state["place"], state["gained"], state["gained_before"]
        self.first_epoch, self.began = state["first_epoch"], state["began"]


def adaptation_of(
    model: ModelConfig, objective: ObjectiveConfig, found: Mapping[str, float], *, can_adapt: bool, has_content: bool
) -> Adaptation:
    """Adaptation of the weights that are `auto`, but for those `found` by an earlier training.

    Args:
        can_adapt: whether there is anything to choose by.
        has_content: whether the model has modalities.
    """
    open_names = [name for name in STEPS if name not in given_weights(model, objective) and name not in found]
    names = [name for name in open_names if has_content or name == "l2"] if can_adapt else []
    known = {name: value for name, value in found.items() if name not in given_weights(model, objective)}
    return Adaptation(replace(starting_weights(model, objective), **known), names)
