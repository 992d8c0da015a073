"""From trained vectors to those that are released: taste in content joined to them, new items raised.

After training, without a gradient, and by validation alone. Shapes: as in `model.finishing.joining`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from model.config import ModelConfig
from model.data import HeldOut, TrainingData
from model.finishing.distilling import DISTILLATION, Distillation, distil
from model.finishing.joining import Cut, Joining
from model.finishing.taste import ContentAxes, Taste
from model.finishing.validation import ValidationSample

WEIGHTS = (0.2, 0.4, 0.8, 1.6)
"""Weights tried for all modalities together, beside 0."""
FACTORS = (0.0, 0.5, 1.5)
"""Factors on the best of these, tried for each modality in turn."""
ROUGH = Distillation(steps=60, rate=0.06)
"""How the cuts of a search are distilled. With too few steps a modality that a plain cut loses looks worthless."""
WITHOUT_VALIDATION = 0.4
"""Weight without validation to choose it by."""
LARGEST_SCALE, SCALE_STEPS = 8.0, 10
MOST_FALL = 0.006
"""Relative loss of validation recall that the competition of new items may cost the others."""


@dataclass(frozen=True, kw_only=True)
class Finished:
    """Vectors of a release, and how they came about."""

    user_UD: Tensor
    item_ID: Tensor
    taste_weights: dict[str, float] = field(default_factory=dict)
    """b of each modality, in mean scores of the trained model."""
    new_item_scale: float = 1.0
    """Factor on the vectors of items without interactions."""
    axes: dict[str, ContentAxes] = field(default_factory=dict)
    cut: Cut | None = None
    """How columns were cut; None where nothing was joined."""


def finish(
    user_UD: Tensor,
    item_ID: Tensor,
    data: TrainingData,
    held_out: HeldOut | None,
    config: ModelConfig,
    names: list[str],
    found_weights: Mapping[str, float] | None = None,
) -> Finished:
    """Join taste and raise new items, as far as `config` asks for it.

    Args:
        user_UD, item_ID: float32, of a trained model, all columns.
        data: what it was trained on.
        held_out: validation, to choose by.
        names: modalities that the model uses.
        found_weights: of taste, by modality, for `auto`, from an earlier training; None: to be found.
    """
    user_UD, item_ID = user_UD.detach(), item_ID.detach()
    plain = Finished(user_UD=user_UD, item_ID=item_ID)
    if not names or not config.wants_finishing:
        return plain
    joining = Joining(user_UD, item_ID, data.trained_items(), Taste(data, names))
    sample = None if held_out is None or not len(held_out.user_P) else ValidationSample(joining, data, held_out)
    weights = _weights(joining, sample, config, names, found_weights)
    cut = _cut(joining, weights, config, DISTILLATION)
    scale = _new_item_scale(sample, cut, weights) if sample is not None and config.new_items == "raised" else 1.0
    item_ID = joining.all_items(cut)
    item_ID[~data.trained_items()] *= scale
    return Finished(
        user_UD=joining.all_users(cut), item_ID=item_ID, taste_weights=weights, new_item_scale=scale,
        axes=joining.axes, cut=cut,
    )  # fmt: skip


def _weights(
    joining: Joining,
    sample: ValidationSample | None,
    config: ModelConfig,
    names: list[str],
    found: Mapping[str, float] | None,
) -> dict[str, float]:
    """The weights given or found before, otherwise the best on validation: first one for all, then one for each."""
    if config.taste_weight != "auto":
        return dict.fromkeys(names, float(config.taste_weight))
    if found is not None:
        return {name: found[name] for name in names}
    if sample is None:
        return dict.fromkeys(names, WITHOUT_VALIDATION)

    def measured(weights: dict[str, float]) -> tuple[float, dict[str, float]]:
        return sample.metric(_cut(joining, weights, config, ROUGH)), weights

    best = max((measured(dict.fromkeys(names, weight)) for weight in (0.0, *WEIGHTS)), key=_metric)
    for name in names if len(names) > 1 and any(best[1].values()) else ():
        changed = [best[1] | {name: factor * best[1][name]} for factor in FACTORS]
        best = max((best, *map(measured, changed)), key=_metric)  # of equals the first
    return best[1]


def _metric(measured: tuple[float, dict[str, float]]) -> float:
    return measured[0]


def _cut(joining: Joining, weights: dict[str, float], config: ModelConfig, distillation: Distillation) -> Cut:
    """The columns of a release; the model's own, untouched, where nothing is joined."""
    cut = joining.cut(weights, config.embedding_dim)
    return distil(joining, cut, weights, distillation) if any(weights.values()) else cut


def _new_item_scale(sample: ValidationSample, cut: Cut, weights: dict[str, float]) -> float:
    """The factor with which new items get the places that their content deserves, or the largest allowed.

    They deserve the share of places that lists by content alone give them, times the recall of such lists relative to
    the model's.
    """
    contest = sample.contest(cut)
    by_content, plain = sample.by_content(weights), contest.outcome(1.0)
    if not by_content.new_share or not plain.metric:
        return 1.0
    deserved = by_content.new_share * min(1.0, by_content.metric / plain.metric)

    def affordable(scale: float) -> bool:
        outcome = contest.outcome(scale)
        fall = 1 - outcome.metric / plain.metric
        return outcome.new_share <= deserved and (contest.is_cold or fall <= MOST_FALL)

    low, high = 0.0, math.log(LARGEST_SCALE)
    for _ in range(SCALE_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if affordable(math.exp(middle)) else (low, middle)
    return math.exp(low)
