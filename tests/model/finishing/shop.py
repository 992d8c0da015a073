"""A shop whose users buy by the content of items, and by nothing else that a model could know."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from model.data import HeldOut, TrainingData


@dataclass(frozen=True)
class Shop:
    """Interactions by taste in `text`; `noise` is a modality that tells nothing."""

    data: TrainingData
    held_out: HeldOut
    user_UD: torch.Tensor
    """Vectors of a model that knows nothing: noise."""
    item_ID: torch.Tensor


def shop(num_users=300, num_items=120, num_new=20, dim=8, seed=0):
    """The last `num_new` items have no interactions, and content like the others'."""
    generator = torch.Generator().manual_seed(seed)
    text_IF = F.normalize(torch.randn(num_items, 6, generator=generator), dim=1)
    taste_UF = F.normalize(torch.randn(num_users, 6, generator=generator), dim=1)
    chance_UI = (6 * taste_UF @ text_IF.T).exp()
    chance_UI[:, num_items - num_new :] = 0
    bought_UB = torch.multinomial(chance_UI, 8, generator=generator)
    user_UB = torch.arange(num_users)[:, None].expand_as(bought_UB)
    features = {"noise": torch.randn(num_items, 5, generator=generator), "text": text_IF}
    data = TrainingData(
        num_users=num_users, num_items=num_items,
        user_T=user_UB[:, :6].flatten(), item_T=bought_UB[:, :6].flatten(), features=features,
        present={name: torch.ones(num_items, dtype=torch.bool) for name in features},
    )  # fmt: skip
    held_out = HeldOut(user_P=user_UB[:, 6:].flatten(), item_P=bought_UB[:, 6:].flatten())
    user_UD, item_ID = (torch.randn(count, dim, generator=generator) for count in (num_users, num_items))
    return Shop(data, held_out, user_UD, item_ID * data.trained_items()[:, None])
