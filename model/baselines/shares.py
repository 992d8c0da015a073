"""What each modality counts where content alone ranks."""

from collections.abc import Mapping


def proportions(shares: Mapping[str, float]) -> dict[str, float]:
    """The shares of the modalities that have one, in order of their names; they sum to 1.

    Raises `ValueError` where every share is 0.
    """
    total = sum(shares.values())
    if total <= 0:
        raise ValueError(f"no modality has a share: {dict(shares)}")
    return {name: share / total for name, share in sorted(shares.items()) if share}
