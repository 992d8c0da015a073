import math

import pytest
import torch

from model.divergence import LARGEST_PARAMETER, DivergedError, EpochLosses, largest_entries, require_numbers
from model.objective import Terms
from model.parallel import WHOLE

NAN, INF = math.nan, math.inf


def followed(*steps):
    losses = EpochLosses(torch.device("cpu"))
    for total, ranking, contrastive in steps:
        losses.add(Terms(torch.tensor(total), torch.tensor(ranking), torch.tensor(contrastive)))
    return losses.means()


def test_epoch_losses_are_the_means_of_the_steps():
    means = followed((3.0, 1.0, 2.0), (5.0, 2.0, 0.0))
    assert (means.loss, means.ranking, means.contrastive, means.first_bad) == (4.0, 1.5, 1.0, None)


@pytest.mark.parametrize(
    ("steps", "step", "term"),
    [
        (((1.0, 1.0, 0.0), (NAN, INF, 0.0), (NAN, NAN, NAN)), 2, "ranking loss"),
        (((NAN, 1.0, NAN), (NAN, NAN, NAN)), 1, "contrastive loss"),
        (((1.0, 1.0, 1.0), (2.0, 1.0, 1.0), (-INF, 1.0, 1.0)), 3, "loss"),
    ],
)
def test_epoch_losses_first_step_without_a_number_is_named_with_its_term(steps, step, term):
    bad = followed(*steps).first_bad
    assert (bad.step, bad.of, bad.term) == (step, len(steps), term)


def test_largest_entries_nan_counts_as_infinite_and_nothing_as_nothing():
    found = largest_entries(
        {"a": torch.tensor([[1.0, -3.0]]), "b": torch.tensor([NAN, 1.0]), "c": torch.zeros(0)}, WHOLE
    )
    assert found == {"a": 3.0, "b": INF}
    assert largest_entries({}, WHOLE) == {}


def test_require_numbers_bad_step_is_told_with_suspect_and_largest_parameter():
    means = followed((1.0, 1.0, 1.0), (NAN, NAN, 1.0))
    with pytest.raises(
        DivergedError,
        match=r"diverged in epoch 7: at step 2 of 2 the ranking loss became NaN or infinite; before this epoch the "
        r"largest parameter was 4e\+03, in w; lower train\.learning_rate \(train\.learning_rate is 0\.5\)",
    ):
        require_numbers(7, means, {"w": 4000.0, "v": 1.0}, {"w": INF, "v": INF}, 0.5)


@pytest.mark.parametrize("largest", [INF, 10 * LARGEST_PARAMETER])
def test_require_numbers_parameters_without_numbers_behind_a_last_finite_loss_are_seen(largest):
    with pytest.raises(DivergedError, match=r"epoch 1: at its end w was .*lower train\.learning_rate"):
        require_numbers(1, followed((1.0, 1.0, 1.0)), {"w": 1.0}, {"w": largest}, 0.5)


def test_require_numbers_second_moment_is_only_seen_where_it_is_infinite():
    means, moment = followed((1.0, 1.0, 1.0)), "Adam's second moment of w"
    require_numbers(1, means, {"w": 1.0}, {"w": 1.0, moment: 10 * LARGEST_PARAMETER}, 0.5)
    with pytest.raises(DivergedError, match="at its end Adam's second moment of w was NaN or infinite"):
        require_numbers(1, means, {"w": 1.0}, {"w": 1.0, moment: INF}, 0.5)
