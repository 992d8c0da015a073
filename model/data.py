"""What the model is trained on.

Shapes: T training interactions, P held-out ones, I items, D feature dimension.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

SMALLEST, LARGEST = 1e-10, 1e16
"""Limits of a feature vector's largest absolute entry. Beyond, float32 cannot square it, and its direction is lost."""


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """Interactions and content by index; users are 0..U-1, items 0..I-1.

    Raises `ValueError` for features of another number of items, for NaN and infinite ones, and for vectors that are so
    long or so short that float32 cannot square them.
    """

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
    """Modality to bool (I,): whether the item has it. An item whose vector is all zero does not, whatever is given."""

    def __post_init__(self) -> None:
        if not len(self.user_T):
            raise ValueError("there is no training interaction")
        for name, feature_ID in self.features.items():
            if len(feature_ID) != self.num_items or len(self.present[name]) != self.num_items:
                raise ValueError(f"modality {name}: {len(feature_ID)} rows for {self.num_items} items")
        present = {name: self.present[name] & (largest_I > 0) for name, largest_I in self._largest().items()}
        object.__setattr__(self, "present", present)

    def _largest(self) -> dict[str, Tensor]:
        """The largest absolute entry of each item's vector, by modality, float (I,): 0 if the item lacks it."""
        largest = {}
        for name, feature_ID in self.features.items():
            norm_I = torch.linalg.vector_norm(feature_ID, torch.inf, dim=1)
            largest[name] = largest_I = torch.where(self.present[name], norm_I, 0.0)
            if not torch.isfinite(largest_I).all():
                raise ValueError(f"modality {name}: a feature is NaN or infinite")
            odd = ((largest_I > LARGEST) | ((largest_I < SMALLEST) & (largest_I > 0))).nonzero()
            if len(odd):
                raise ValueError(
                    f"modality {name}: row {int(odd[0])} has features up to {float(largest_I[odd[0]]):.3g}, between "
                    f"{SMALLEST:g} and {LARGEST:g} are needed; scale its vector"
                )
        return largest

    def trained_users(self) -> Tensor:
        """Which users have a training interaction, bool (U,)."""
        return torch.bincount(self.user_T, minlength=self.num_users) > 0

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
    """Return the mean feature (D,) of the items that have the modality; 0 where none has, or no more than rounding."""
    mean_D = feature_ID[present_I].sum(0) / present_I.sum().clamp(min=1)
    return torch.where(mean_D.abs().max() < SMALLEST, 0.0, mean_D)


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
