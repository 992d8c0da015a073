"""Textures as functions of the surface: the share of the contrast colour at every pixel."""

from collections.abc import Callable
from math import pi

import numpy as np

_Pattern = Callable[[np.ndarray, np.ndarray], np.ndarray]


def draw_pattern(texture: str, u: np.ndarray, v: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Share of the contrast colour, float32 from 0 to 1, in the shape of `u`.

    Args:
        texture: one of `PATTERNS`.
        u, v: surface coordinates in the frame of the shape, -1 to 1.
        rng: draws how fine the pattern is and where it begins.
    """
    fineness = rng.uniform(0.85, 1.2)
    begin_u, begin_v = rng.uniform(0, 1, size=2)
    return np.asarray(PATTERNS[texture]((u + begin_u) * fineness, (v + begin_v) * fineness), dtype=np.float32)


def _edge(distance: np.ndarray, softness: float) -> np.ndarray:
    """0 where `distance` is well below zero, 1 where well above, a short ramp between."""
    return np.asarray(np.clip(0.5 + distance / softness, 0, 1))


def _plain(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.zeros_like(u)


def _striped(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return _edge(np.sin(2 * pi * v * 3.6), 0.4)


def _dotted(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    row = np.floor(v * 4)
    x, y = (u * 4 + 0.5 * (row % 2)) % 1 - 0.5, v * 4 - row - 0.5
    return _edge(0.29 - np.hypot(x, y), 0.07)


def _checked(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    across, down = _edge(np.sin(2 * pi * u * 3.2), 0.35), _edge(np.sin(2 * pi * v * 3.2), 0.35)
    return np.asarray(0.5 * (across + down))


def _zigzag(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    wave = np.abs((u * 3.2) % 1 - 0.5)
    return _edge(np.sin(2 * pi * (v * 3.2 + wave)), 0.4)


def _floral(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    row = np.floor(v * 2.8)
    x, y = (u * 2.8 + 0.5 * (row % 2)) % 1 - 0.5, v * 2.8 - row - 0.5
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    petals = _edge(0.27 + 0.14 * np.cos(5 * angle) - radius, 0.06)
    return petals * (1 - 0.9 * _edge(0.09 - radius, 0.05))


PATTERNS: dict[str, _Pattern] = {
    "plain": _plain,
    "striped": _striped,
    "dotted": _dotted,
    "checked": _checked,
    "zigzag": _zigzag,
    "floral": _floral,
}
