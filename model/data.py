"""What the model is trained on.

Shapes: T training interactions, P held-out ones, I items, D feature dimension.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """Interactions and content by index; users are 0..U-1, items 0..I-1."""

    num_users: int
    num_items: int
    user_T: Tensor
    """int64, each (user, item) pair once."""
    item_T: Tensor
    """int64."""
    weight_T: Tensor | None = None
    """float32, how much each interaction counts in the ranking loss; None: all the same."""
    features: dict[str, Tensor]
    """Modality to float32 (I, D); rows of absent items are ignored."""
    present: dict[str, Tensor]
    """Modality to bool (I,): whether the item has it."""

    def __post_init__(self) -> None:
        if not len(self.user_T):
            raise ValueError("there is no training interaction")
        for name, feature_ID in self.features.items():
            if len(feature_ID) != self.num_items or len(self.present[name]) != self.num_items:
                raise ValueError(f"modality {name}: {len(feature_ID)} rows for {self.num_items} items")
            if not torch.isfinite(feature_ID[self.present[name]]).all():
                raise ValueError(f"modality {name}: a feature is NaN or infinite")

    def trained_items(self) -> Tensor:
        """Which items have a training interaction, bool (I,)."""
        return torch.bincount(self.item_T, minlength=self.num_items) > 0

    def with_means(self) -> "TrainingData":
        """Return a copy in which items that lack a modality have the mean of those that have it, as their own."""
        features, present = {}, {}
        for name, present_I in self.present.items():
            mean_D = mean_of_present(self.features[name], present_I)
            features[name] = torch.where(present_I[:, None], self.features[name], mean_D)
            present[name] = present_I | present_I.any()
        return replace(self, features=features, present=present)

    def to(self, device: torch.device) -> "TrainingData":
        """Return a copy on `device`."""
        return replace(
            self,
            user_T=self.user_T.to(device),
            item_T=self.item_T.to(device),
            weight_T=None if self.weight_T is None else self.weight_T.to(device),
            features={name: feature_ID.to(device) for name, feature_ID in self.features.items()},
            present={name: present_I.to(device) for name, present_I in self.present.items()},
        )


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """Validation interactions, each once, and the items that compete for them."""

    user_P: Tensor
    """int64 (P,)."""
    item_P: Tensor
    """int64 (P,)."""
    candidate_I: Tensor | None = None
    """bool (I,); None: every item."""


def mean_of_present(feature_ID: Tensor, present_I: Tensor) -> Tensor:
    """Return the mean feature (D,) of the items that have the modality; 0 where none has."""
    return feature_ID[present_I].sum(0) / present_I.sum().clamp(min=1)


def resolve_device(name: str) -> torch.device:
    """Turn `auto`, `cpu`, `cuda` or `cuda:<n>` into a device that is there.

    Raises `ValueError` for another name, and where CUDA is asked for and absent.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"device {name!r}: use 'auto', 'cpu', 'cuda' or 'cuda:<n>'") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {name!r}: this machine has no usable CUDA device; use 'auto' or 'cpu'")
    return device
