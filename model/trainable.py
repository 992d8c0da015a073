"""What the training loop uses of a model; `Micro` has it, and `Vbpr`.

Shapes: B some of the users, P items with a modality.
"""

from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeVar

from torch import Generator, Tensor, nn

from model.config import ModelConfig
from model.data import TrainingData
from model.micro import Vectors
from model.parallel import Columns


class Trainable(Protocol):
    """A module that makes vectors for all items and users; everything but the first four is `nn.Module`'s."""

    modality_items: tuple[Tensor, ...]
    """int64 (P,) each: the items that have each modality, for the contrastive term; empty for no such term."""
    content_weight: float
    """Length of the content's part of an item's vector; training may change it."""

    def __call__(self, user_B: Tensor | None = None, *, structure_gradient: bool = False) -> Vectors:
        """Vectors of everyone, or of all items and these users, int64 (B,), each once.

        Args:
            user_B: None: everyone.
            structure_gradient: let gradients reach learned graphs, where there are any.
        """
        ...

    def refresh_graphs(self, *, anew: bool = False) -> None:
        """Follow the parameters with what depends on them and has no gradient; `anew`: from nothing."""
        ...

    def restore_graphs(self) -> None:
        """The same for a state that has been loaded, as it was when that was saved."""
        ...

    def train(self, mode: bool = True) -> Any:
        """Turn on what is for training alone."""
        ...

    def eval(self) -> Any:
        """Turn it off."""
        ...

    def parameters(self) -> Iterator[nn.Parameter]:
        """What is trained."""
        ...

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """The same with the names that checkpoints give them."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Parameters and whatever else a checkpoint has to hold."""
        ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any:
        """Take them back."""
        ...


Model = TypeVar("Model", bound=Trainable)
ModelType = Callable[[TrainingData, ModelConfig, Generator, Columns], Model]
"""Builds a model on the device of the data; every random number is drawn from the generator."""
