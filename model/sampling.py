"""Batches of an epoch, vectorised: triples (user, seen item, unseen item), or users with all their interactions.

Shapes: T training interactions, U users, I items, P interactions of a batch, B its users.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from model.gather import runs


@dataclass(frozen=True)
class TripleBatch:
    """Some training interactions, each with an item its user has not interacted with."""

    user_B: Tensor
    """int64, their users, each once."""
    row_P: Tensor
    """int64, where an interaction's user stands in `user_B`."""
    seen_P: Tensor
    """int64, the item."""
    unseen_P: Tensor
    """int64, the other item."""
    weight_P: Tensor | None = None
    """float32, of the interaction; None: 1."""


class TripleSampler:
    """One epoch is every training interaction once, in random order, each with one unseen item.

    The unseen item is uniform over the *trained* items (those with a training interaction) that the user
    has not interacted with. Items nobody has touched are left out: as negatives only, they would be pushed
    away from everybody, and they are exactly those whose content has to speak for them
    (docs/decisions/0003-negatives.md).

    How a draw is exact without rejection: let s_0 < s_1 < ... be the user's seen items, as ranks among the
    trained ones. The r-th unseen item has rank r + #{j : s_j - j <= r}, and that count is one binary search
    in a table of keys (user, s_j - j), sorted once.
    """

    def __init__(
        self, user_T: Tensor, item_T: Tensor, num_users: int, num_items: int, weight_T: Tensor | None = None
    ) -> None:
        """Prepare the key table.

        Args:
            user_T, item_T: int64 pairs, each pair once.
            num_users, num_items: U and I.
            weight_T: float32, what the batches carry for each pair.

        Raises `ValueError` when every user has seen every trained item: there is nothing to rank below what was seen.
        """
        device = user_T.device
        self.trained_item = torch.unique(item_T)
        rank_I = torch.full((num_items,), -1, dtype=torch.int64, device=device)
        rank_I[self.trained_item] = torch.arange(len(self.trained_item), device=device)
        order = torch.argsort(user_T * num_items + item_T)
        user, rank = user_T[order], rank_I[item_T[order]]
        seen_U = torch.bincount(user, minlength=num_users)
        self._start_U = seen_U.cumsum(0) - seen_U
        self._unseen_U = len(self.trained_item) - seen_U
        self._stride = len(self.trained_item) + 1
        position_T = torch.arange(len(user), device=device) - self._start_U[user]
        self._key_T = user * self._stride + rank - position_T
        # A user who has seen every trained item has no negative to learn from.
        teachable_T = self._unseen_U[user_T] > 0
        if not teachable_T.any():
            raise ValueError(
                f"nothing to learn: every user in training has all of the {len(self.trained_item)} items there; "
                "more interactions are needed"
            )
        self.user_T, self.item_T = user_T[teachable_T], item_T[teachable_T]
        self._weight_T = None if weight_T is None else weight_T[teachable_T]

    def unseen_items(self, user_P: Tensor, generator: Generator) -> Tensor:
        """Draw one unseen trained item for each interaction's user, int64 (P,)."""
        unseen_P = self._unseen_U[user_P]
        uniform_P = torch.rand(len(user_P), generator=generator, device=user_P.device, dtype=torch.float64)
        draw_P = (uniform_P * unseen_P).long().clamp(max=unseen_P - 1)
        key_P = user_P * self._stride + draw_P
        below_P = torch.searchsorted(self._key_T, key_P, right=True) - self._start_U[user_P]
        item_P: Tensor = self.trained_item[draw_P + below_P]
        return item_P

    def epoch(self, batch_size: int, generator: Generator) -> Iterator[TripleBatch]:
        """Yield batches; the last may be shorter."""
        order = torch.randperm(len(self.user_T), generator=generator, device=self.user_T.device)
        for index_P in order.split(batch_size):
            user_P = self.user_T[index_P]
            user_B, row_P = user_P.unique(return_inverse=True)
            weight_P = None if self._weight_T is None else self._weight_T[index_P]
            yield TripleBatch(user_B, row_P, self.item_T[index_P], self.unseen_items(user_P, generator), weight_P)

    def num_batches(self, batch_size: int) -> int:
        """Batches of one epoch."""
        return -(-len(self.user_T) // batch_size)


@dataclass(frozen=True)
class UserBatch:
    """Some users and all their training interactions."""

    user_B: Tensor
    """int64, the users, each once."""
    row_P: Tensor
    """int64, where an interaction's user stands in `user_B`; ascending."""
    item_P: Tensor
    """int64, its item."""
    count_B: Tensor
    """int64, on the CPU: how many interactions a user has."""
    weight_P: Tensor | None = None
    """float32, an interaction's weight; None: 1."""

    def parts(self, num_users: int) -> Iterator[tuple[slice, slice]]:
        """Some users at a time, with their interactions: places in `user_B` and among P."""
        end_B = F.pad(self.count_B.cumsum(0), (1, 0))
        for begin in range(0, len(self.user_B), num_users):
            end = min(begin + num_users, len(self.user_B))
            yield slice(begin, end), slice(int(end_B[begin]), int(end_B[end]))


class UserSampler:
    """One epoch is every user with training interactions once, in random order, cut into batches.

    Batches hold whole users: a batch ends with the user in whom it reaches its share of the interactions, so a user
    who has several batches' worth of them makes the epoch's batches fewer.
    """

    def __init__(self, user_T: Tensor, item_T: Tensor, num_users: int, weight_T: Tensor | None = None) -> None:
        """Sort the interactions by user.

        Args:
            user_T, item_T: int64 pairs, each pair once.
            num_users: U.
            weight_T: float32, what the batches carry for each pair.
        """
        order = torch.argsort(user_T, stable=True)
        self._item_T = item_T[order]
        self._weight_T = None if weight_T is None else weight_T[order]
        self._count_U = torch.bincount(user_T, minlength=num_users)
        self._start_U = self._count_U.cumsum(0) - self._count_U
        self._active = self._count_U.nonzero().squeeze(1)

    def num_batches(self, batch_size: int) -> int:
        """Batches of one epoch, at most."""
        return min(len(self._active), max(1, round(len(self._item_T) / batch_size)))

    def epoch(self, batch_size: int, generator: Generator) -> Iterator[UserBatch]:
        """Yield batches of about `batch_size` interactions."""
        device = self._item_T.device
        shuffled = self._active[torch.randperm(len(self._active), generator=generator, device=device)]
        num_batches = self.num_batches(batch_size)
        before = self._count_U[shuffled].cumsum(0) - self._count_U[shuffled]
        sizes = torch.bincount(before * num_batches // len(self._item_T), minlength=num_batches)
        # Once an epoch, so that no batch waits for a device to tell them.
        count, per_batch = self._count_U[shuffled].cpu(), sizes.tolist()
        for user_B, count_B in zip(shuffled.split(per_batch), count.split(per_batch), strict=True):
            if len(user_B):
                yield self._batch(user_B, count_B)

    def _batch(self, user_B: Tensor, known_count_B: Tensor) -> UserBatch:
        count_B, num_pairs = self._count_U[user_B], int(known_count_B.sum())
        row_P = torch.arange(len(user_B), device=user_B.device).repeat_interleave(count_B, output_size=num_pairs)
        index_P = runs(self._start_U[user_B], count_B, num_pairs)
        weight_P = None if self._weight_T is None else self._weight_T[index_P]
        return UserBatch(user_B, row_P, self._item_T[index_P], known_count_B, weight_P)


def weighted_mean(loss_P: Tensor, weight_P: Tensor | None) -> Tensor:
    """Mean over the interactions, each counted by its weight: one of weight 2 has twice the gradient of another."""
    return (loss_P if weight_P is None else loss_P * weight_P).mean()
