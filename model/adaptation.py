"""Weights that training finds itself, if they are `auto`: L2, the contrastive term's and the content's.

Training begins with rather much L2. Whenever it stops gaining, it goes on from its best state with one weight changed.
A change that gains is kept and made again; one that does not is taken back, and another is tried. L2 is weakened first:
parameters soon follow a weaker one, but parameters that fit too well forget it late. That is the path
from strong to weak regularisation with warm starts of Friedman, Hastie & Tibshirani (2010), here by validation
(docs/decisions/0033-no-knobs.md).
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from model.config import ModelConfig, ObjectiveConfig, Weights, given_weights, starting_weights

CHECKS, LAST_CHECKS = 1, 3
"""Checks without gain after which a change is made, and after which training ends."""
STRONG = 1.25
"""Training begins with this factor on the usual L2 if L2 is to be found."""
CHANGES = (
    ("l2", (1 / 1.4, 1.4)),
    ("l2", (1 / 4, 4.0)),  # for a start that was far off
    ("l2", (1 / 1.18, 1.18)),
    ("content_weight", (2.0, 0.5)),
    ("contrastive_weight", (4.0, 0.25)),
)
"""Weight, factor and its opposite, in the order in which they are tried. The best L2 is narrow."""
AS_THEY_ARE = ("l2", 1.0, False)
"""The last change."""
ERRORS = 0.25
"""A change's first gain must exceed so many standard errors of validation; the best of many checks is partly luck."""


class Adaptation:
    """Which weights are in use, which are best so far, and what is tried next."""

    def __init__(self, weights: Weights, names: list[str]) -> None:
        """Begin with `weights`; those in `names` may be changed."""
        self.weights = self.best = weights
        self._changes = [
            (name, factor, place > 0)
            for name, factors in CHANGES
            if name in names
            for place, factor in enumerate(factors)
        ]
        if names:
            self._changes.append(AS_THEY_ARE)
        self.failed = False
        """Whether the change in use has failed, whatever its next checks say."""
        self._finds_l2 = "l2" in names
        self._place = -1
        self._gained = self._gained_before = False
        self.began = 0
        """Epoch after which the change in use was made; 0 before the first."""

    @property
    def under_way(self) -> bool:
        """Whether a change is in use."""
        return self._place >= 0

    @property
    def searches(self) -> bool:
        """Whether there is anything to find."""
        return bool(self._changes)

    @property
    def goes_on(self) -> bool:
        """Whether there is another change to try."""
        return self._next() < len(self._changes)

    def patience(self, configured: int) -> int:
        """Checks without gain to wait for; `configured` if L2 is known and nothing has been changed yet."""
        if not self.under_way:
            return CHECKS if self._finds_l2 else configured
        return LAST_CHECKS if self.weights == self.best and not self._gained else CHECKS

    def needed(self, best_metric: float, num_users: int) -> float:
        """What a check must exceed to be the best so far: a first gain by more than luck."""
        if self.weights == self.best:
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
        self._place, self._gained, self.failed, self.began = place, False, False, epoch
        name, factor, _ = self._changes[place]
        self.weights = replace(self.best, **{name: factor * getattr(self.best, name)})
        return self.weights

    def _next(self) -> int:
        """The same change again if it has gained, otherwise the opposite, otherwise another one."""
        if not self.under_way or self._gained:
            return max(0, self._place)
        place = self._place + 1
        is_opposite = place < len(self._changes) and self._changes[place][2]
        return place + 1 if is_opposite and self._gained_before else place

    def state(self) -> dict[str, Any]:
        """Plain JSON values, for a checkpoint."""
        return {
            "weights": asdict(self.weights),
            "best": asdict(self.best),
            "place": self._place,
            "gained": self._gained,
            "gained_before": self._gained_before,
            "began": self.began,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from where `state` was taken."""
        self.weights, self.best = Weights(**state["weights"]), Weights(**state["best"])
        self._place, self._gained, self._gained_before = state["place"], state["gained"], state["gained_before"]
        self.began = state["began"]


def adaptation_of(
    model: ModelConfig,
    objective: ObjectiveConfig,
    found: Mapping[str, float],
    *,
    searches_on: bool,
    can_adapt: bool,
    has_content: bool,
) -> Adaptation:
    """Adaptation of the weights that are `auto`, except those `found` by an earlier training.

    Args:
        searches_on: those that were found may change, too; they are where the search begins.
        can_adapt: whether there is anything to choose by.
        has_content: whether the model has modalities.
    """
    given = given_weights(model, objective)
    weights = replace(starting_weights(model, objective), **{**found, **given})
    unknown = (name for name in asdict(weights) if name not in given and (searches_on or name not in found))
    names = [name for name in unknown if can_adapt and (has_content or name == "l2")]
    strength = STRONG if "l2" in names and "l2" not in found else 1.0
    return Adaptation(replace(weights, l2=strength * weights.l2), names)
