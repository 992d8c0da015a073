"""Groups of test interactions that people ask about: new items, items without a picture, light users, a category."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import polars as pl
import torch
from torch import Tensor

from model.evaluation import Pairs
from pipeline.columns import KIND, TEST, TRAIN
from pipeline.dataset.protocol import LIGHT_USER_INTERACTIONS, EvaluationProtocol, OpenContest
from pipeline.dataset.records import Group, GroupOf

HEAD_SHARE = 0.2
"""Of the items with interactions: the most popular are the head, the others the tail."""
MOST_KINDS = 12
FEWEST_KIND_USERS = 30
"""A kind that fewer users took is left out."""


def measure_groups(
    protocol: EvaluationProtocol, items: pl.DataFrame, contests: Mapping[str, OpenContest]
) -> list[Group]:
    """What each ranking finds of each group; none where nothing is held out.

    Args:
        protocol: of the dataset.
        items: the dataset's, with a column `kind` where kinds are known.
        contests: by the name of the ranking.
    """
    test = protocol.parts[TEST]
    parts: list[tuple[Group, Pairs]] = [(_group("all", "all", test), test)]
    parts += [(_group(name, "items", pairs), pairs) for name, pairs in _by_item(protocol, test)]
    parts += [(_group(name, "users", pairs), pairs) for name, pairs in _by_user(protocol, test)]
    parts += [(_group(name, "kind", pairs), pairs) for name, pairs in _by_kind(items, test)]
    return [
        replace(group, found={name: contest.figures(pairs) for name, contest in contests.items()})
        for group, pairs in parts
        if len(pairs.key_P)
    ]


def _group(name: str, of: GroupOf, pairs: Pairs) -> Group:
    return Group(name=name, of=of, users=len(pairs.users()), interactions=len(pairs.key_P))


def _by_item(protocol: EvaluationProtocol, test: Pairs) -> Iterator[tuple[str, Pairs]]:
    head_I = head_items(protocol.trained_count_I.numpy())
    yield "popular items", test.restricted_to(torch.from_numpy(head_I))
    yield "other items", test.restricted_to(torch.from_numpy(~head_I) & ~protocol.untrained_I)
    yield "new items", test.restricted_to(protocol.untrained_I)
    for name, present_I in protocol.present.items():
        yield f"items without {name}", test.restricted_to(~torch.from_numpy(present_I))


def _by_user(protocol: EvaluationProtocol, test: Pairs) -> Iterator[tuple[str, Pairs]]:
    light_U = protocol.parts[TRAIN].count_U < LIGHT_USER_INTERACTIONS
    yield f"users with fewer than {LIGHT_USER_INTERACTIONS} interactions", test.restricted_to_users(light_U)
    yield f"users with {LIGHT_USER_INTERACTIONS} interactions or more", test.restricted_to_users(~light_U)


def _by_kind(items: pl.DataFrame, test: Pairs) -> Iterator[tuple[str, Pairs]]:
    """The kinds with the most test interactions, largest first."""
    if KIND not in items.columns:
        return
    taken = items[KIND].gather(test.item_P.numpy()).drop_nulls().value_counts().sort(["count", KIND], descending=True)
    for name in taken[KIND].head(MOST_KINDS):
        pairs = test.restricted_to(_mask(items[KIND] == name))
        if len(pairs.users()) >= FEWEST_KIND_USERS:
            yield name, pairs


def _mask(chosen: pl.Series) -> Tensor:
    return torch.from_numpy(chosen.fill_null(value=False).to_numpy().copy())


def head_items(count_I: np.ndarray) -> np.ndarray:
    """The head: the most popular `HEAD_SHARE` of the items with interactions, bool (I,); ties in the items' order."""
    trained = np.flatnonzero(count_I > 0)
    by_popularity = trained[np.argsort(-count_I[trained], kind="stable")]
    head_I = np.zeros(len(count_I), dtype=bool)
    head_I[by_popularity[: round(HEAD_SHARE * len(trained))]] = True
    return head_I
