"""Rendering a product picture: parts are drawn as masks, painted, shaded and laid on a studio background.

Shapes: S side of the picture in pixels; masks are float32 (S, S) from 0 to 1, colours float32 (S, S, 3) from 0 to 255.
"""

import io
from dataclasses import dataclass
from math import cos, sin

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from pipeline.sample.curves import Part, Point
from pipeline.sample.patterns import draw_pattern
from pipeline.sample.shapes import SHAPES, STANDING
from pipeline.sample.vocabulary import COLOURS

SIDE = 256
_OVERSAMPLING = 4  # masks are drawn this much larger, so that edges come out soft
_BACKGROUNDS = ((246, 246, 246), (238, 240, 243), (247, 243, 236), (233, 236, 232), (242, 236, 238))
_PAINTS = {
    "wood": (158, 110, 66),
    "metal": (168, 170, 176),
    "white": (246, 245, 241),
    "ink": (38, 36, 38),
    "tea": (74, 42, 24),
    "leaf": (88, 132, 76),
}


@dataclass(frozen=True)
class _Pose:
    """Where the frame of the shape lies in the picture."""

    angle: float
    scale: float
    shift_x: float
    shift_y: float

    def place(self, points: list[Point]) -> list[Point]:
        """Frame coordinates to pixels of the oversampled mask."""
        half = SIDE * _OVERSAMPLING / 2
        turn_x, turn_y = cos(self.angle) * self.scale, sin(self.angle) * self.scale
        return [
            (
                half * (1 + self.shift_x + x * turn_x - y * turn_y),
                half * (1 + self.shift_y + x * turn_y + y * turn_x),
            )
            for x, y in points
        ]

    def frame(self) -> tuple[np.ndarray, np.ndarray]:
        """Frame coordinates u, v of every pixel, each (S, S)."""
        axis = (np.arange(SIDE, dtype=np.float32) + 0.5) / SIDE * 2 - 1
        x, y = np.meshgrid((axis - self.shift_x) / self.scale, (axis - self.shift_y) / self.scale)
        return x * cos(self.angle) + y * sin(self.angle), y * cos(self.angle) - x * sin(self.angle)


def render(kind: str, colour: str, texture: str, rng: np.random.Generator) -> Image.Image:
    """Draw one product, RGB (S, S); the same generator state gives the same pixels."""
    standing = kind in STANDING
    pose = _Pose(
        angle=rng.normal(0, 0.03 if standing else 0.09),
        scale=rng.uniform(0.8, 0.98),
        shift_x=rng.uniform(-0.05, 0.05),
        shift_y=rng.uniform(-0.03, 0.03),
    )
    parts = SHAPES[kind](lambda low, high: float(rng.uniform(low, high)))
    masks = [_mask(part, pose) for part in parts]
    whole = np.max(masks, axis=0)
    light = rng.uniform(-0.9, 0.1)  # direction the light comes from: left to slightly right of the middle
    canvas = _background(rng)
    canvas = _shadow(canvas, whole, light, standing)
    paints = _mix_paints(colour, texture, pose, rng)
    for part, mask in zip(parts, masks, strict=True):
        shaded = paints[part.paint] * _shading(mask, light, flat=part.stroke > 0)[..., None]
        canvas += (shaded - canvas) * mask[..., None]
    canvas = canvas * rng.uniform(0.95, 1.04) + rng.normal(0, 1.5, size=canvas.shape)
    return Image.fromarray(np.clip(canvas, 0, 255).astype(np.uint8))


def encode(image: Image.Image, suffix: str) -> bytes:
    """The picture as the bytes of a `.jpg` or `.png` file."""
    buffer = io.BytesIO()
    image.save(buffer, **({"format": "PNG"} if suffix == ".png" else {"format": "JPEG", "quality": 88}))
    return buffer.getvalue()


def _mask(part: Part, pose: _Pose) -> np.ndarray:
    image = Image.new("L", (SIDE * _OVERSAMPLING, SIDE * _OVERSAMPLING))
    draw = ImageDraw.Draw(image)
    points = pose.place(list(part.outline))
    if not part.stroke:
        draw.polygon(points, fill=255)
    else:
        width = part.stroke * pose.scale * SIDE * _OVERSAMPLING / 2
        draw.line(points, fill=255, width=round(width), joint="curve")
        for x, y in (points[0], points[-1]):
            draw.circle((x, y), width / 2, fill=255)
    return np.asarray(image.reduce(_OVERSAMPLING), dtype=np.float32) / 255


def _mix_paints(colour: str, texture: str, pose: _Pose, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Every paint as a colour picture or a single colour."""
    tint = rng.normal(0, 7, size=3)
    base = np.clip(np.array(COLOURS[colour].paint) + tint, 0, 255).astype(np.float32)
    contrast = np.array(COLOURS[colour].contrast, dtype=np.float32)
    share = draw_pattern(texture, *pose.frame(), rng)[..., None]
    fixed = {name: np.array(value, dtype=np.float32) for name, value in _PAINTS.items()}
    return {
        **fixed,
        "pattern": base + (contrast - base) * share,
        "colour": base,
        "dark": base * 0.66,
        "light": base + (255 - base) * 0.28,
    }


def _background(rng: np.random.Generator) -> np.ndarray:
    """A light studio sweep, darker toward the corners."""
    tone = np.array(_BACKGROUNDS[rng.integers(len(_BACKGROUNDS))], dtype=np.float32)
    axis = np.linspace(-1, 1, SIDE, dtype=np.float32)
    falloff = 1 - 0.07 * (axis[None, :] ** 2 + axis[:, None] ** 2) - 0.03 * np.clip(axis[:, None] - 0.5, 0, 1)
    return np.asarray(tone * falloff[..., None])


def _shadow(canvas: np.ndarray, whole: np.ndarray, light: float, standing: bool) -> np.ndarray:
    """Soft and away from the light; a standing thing also darkens the ground where it touches."""
    shadow = 0.28 * np.roll(_blur(whole, 9), (6, round(-8 * light)), axis=(0, 1))
    if standing:
        rows, columns = np.flatnonzero(whole.max(1) > 0.5), np.flatnonzero(whole.max(0) > 0.5)
        image = Image.new("L", (SIDE, SIDE))
        box = (columns[0] + 6, rows[-1] - 9, columns[-1] - 6, rows[-1] + 7)
        ImageDraw.Draw(image).ellipse(box, fill=255)
        shadow = np.maximum(shadow, 0.55 * _blur(np.asarray(image, dtype=np.float32) / 255, 5))
    return canvas * (1 - shadow[..., None])


def _shading(mask: np.ndarray, light: float, *, flat: bool) -> np.ndarray:
    """Brightness of a bulging surface: edges that face the light are bright, those turned away dark."""
    relief = _blur(mask, 3 if flat else 14)
    down, across = np.gradient(relief)
    facing = light * -across + 0.8 * down
    strength = 0.8 if flat else 7.0
    return np.asarray(np.clip(1.02 + strength * facing, 0.62, 1.3))


def _blur(mask: np.ndarray, radius: float) -> np.ndarray:
    image = Image.fromarray((mask * 255).astype(np.uint8))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(radius)), dtype=np.float32) / 255
