"""The hidden structure of the sample: every item has a product type, a colour and a texture.

Pictures, texts and tastes are all made from these three, so what a recommender can find is known.
"""

from dataclasses import dataclass

import numpy as np

from pipeline.sample.vocabulary import COLOURS, PRODUCTS, TEXTURES

TYPE_NAMES, COLOUR_NAMES, TEXTURE_NAMES = tuple(PRODUCTS), tuple(COLOURS), tuple(TEXTURES)

# Shares of the items; at least one item each, however small the sample.
_NO_PICTURE, _NO_TEXT, _NO_DESCRIPTION, _NEITHER, _NEVER_BOUGHT = 0.05, 0.04, 0.03, 0.005, 0.04
_FILE_ABSENT, _FILE_BROKEN = 2, 1
_MOST_APPEAL = 2.2


@dataclass(frozen=True)
class Families:
    """Latent factors and gaps of I items; row numbers are the item indices of the sample."""

    factor_IF: np.ndarray
    """int64 (I, 3): index of type, colour and texture."""
    appeal_I: np.ndarray
    """float64 (I,): log-popularity apart from taste."""
    no_picture: frozenset[int]
    no_text: frozenset[int]
    no_description: frozenset[int]
    never_bought: frozenset[int]
    absent_file: frozenset[int]
    """Items whose `image_path` names a file that is not there."""
    broken_file: frozenset[int]
    """Items whose picture file is cut off."""

    def names(self, item: int) -> tuple[str, str, str]:
        """Type, colour and texture of an item."""
        kind, colour, texture = self.factor_IF[item]
        return TYPE_NAMES[kind], COLOUR_NAMES[colour], TEXTURE_NAMES[texture]


def draw_families(num_items: int, rng: np.random.Generator) -> Families:
    """Draw the factors, evenly over the types, and which items lack what."""
    factor_IF = np.stack(
        [
            rng.permutation(np.arange(num_items) % len(TYPE_NAMES)),
            rng.integers(len(COLOUR_NAMES), size=num_items),
            rng.integers(len(TEXTURE_NAMES), size=num_items),
        ],
        axis=1,
    )
    order = iter(rng.permutation(num_items).tolist())

    def take(count: int) -> frozenset[int]:
        return frozenset(next(order) for _ in range(count))

    def share(fraction: float) -> int:
        return max(1, round(num_items * fraction))

    neither = take(share(_NEITHER))
    return Families(
        factor_IF=factor_IF,
        appeal_I=np.minimum(0.6 * rng.standard_exponential(num_items), _MOST_APPEAL),
        no_picture=neither | take(share(_NO_PICTURE)),
        no_text=neither | take(share(_NO_TEXT)),
        no_description=take(share(_NO_DESCRIPTION)),
        absent_file=take(_FILE_ABSENT),
        broken_file=take(_FILE_BROKEN),
        never_bought=take(share(_NEVER_BOUGHT)),
    )
