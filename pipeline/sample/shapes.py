"""Silhouettes of the product types as painted parts, back to front (the frame is that of `curves`)."""

from collections.abc import Callable
from math import cos, pi, sin

from pipeline.sample.curves import Paint, Part, Vary, ellipse, mirrored, rounded, smooth


def mug(vary: Vary) -> list[Part]:
    """A cup with a ring handle, coffee inside."""
    wide, top, foot = vary(0.42, 0.5), -vary(0.45, 0.58), vary(0.34, 0.42)
    body = mirrored([(wide, top), (wide, 0.35), *smooth([(wide, 0.35), (wide - 0.02, 0.5), (foot, 0.6), (0, 0.64)])])
    return [
        Part(ellipse(wide + 0.02, 0.02, 0.26, vary(0.27, 0.34), -0.62, 0.62), "colour", 0.12),
        Part(body),
        Part(ellipse(0, top, wide, 0.11), "light"),
        Part(ellipse(0, top + 0.015, wide - 0.06, 0.08), "tea"),
    ]


def teapot(vary: Vary) -> list[Part]:
    """A round pot with spout, handle, lid and knob."""
    wide, tall = vary(0.5, 0.57), vary(0.38, 0.45)
    upper = smooth([(-0.3, 0.2), (-0.62, 0.02), (-0.7, -0.22), (-0.86, -0.34)])
    lower = smooth([(-0.76, -0.37), (-0.58, -0.28), (-0.5, -0.1), (-0.3, -0.1)])
    return [
        Part(ellipse(wide - 0.02, 0.08, 0.27, 0.28, -0.6, 0.55), "colour", 0.09),
        Part([*upper, *lower], "colour"),
        Part(ellipse(0, 0.56, 0.3, 0.08), "dark"),
        Part(ellipse(0, 0.15, wide, tall)),
        Part(ellipse(0, -0.2, 0.3, 0.17, 1, 2), "colour"),
        Part(ellipse(0, -0.2, 0.31, 0.045), "dark"),
        Part(ellipse(0, -0.42, 0.075, 0.07), "dark"),
    ]


def vase(vary: Vary) -> list[Part]:
    """A bellied vase, in half of the cases with a sprig."""
    belly, neck, middle = vary(0.34, 0.46), vary(0.12, 0.18), vary(0.1, 0.28)
    lip, top = neck + 0.08, -0.32
    profile = smooth([(lip, top), (neck, top + 0.16), (belly, middle), (belly * 0.8, 0.55), (0.2, 0.78), (0.2, 0.8)])
    sprig = [
        part
        for x, y in ((-0.3, -0.72), (-0.02, -0.84), (0.28, -0.68))
        for part in (
            Part(smooth([(0, top), (x * 0.35, (y + top) / 2), (x, y)]), "leaf", 0.028),
            Part(ellipse(x * 0.55, (y + top) / 2, 0.09, 0.045), "leaf"),
            *(
                Part(ellipse(x + 0.075 * cos(a), y + 0.075 * sin(a), 0.06, 0.06), "white")
                for a in (0.3, 1.6, 2.8, 4, 5.3)
            ),
            Part(ellipse(x, y, 0.045, 0.045), "wood"),
        )
    ]
    body = [Part(mirrored(profile)), Part(ellipse(0, top, lip, 0.045), "dark")]
    return [*(sprig if vary(0, 1) < 0.5 else []), *body]


def lamp(vary: Vary) -> list[Part]:
    """A table lamp: a conical shade on a stem with a foot."""
    top, bottom = vary(0.22, 0.32), vary(0.5, 0.6)
    stem: Paint = "wood" if vary(0, 1) < 0.5 else "metal"
    shade = [(-top, -0.78), (top, -0.78), *smooth([(bottom, -0.05), (0, 0.03), (-bottom, -0.05)])]
    glow = ellipse(0, -0.03, bottom * 0.96, 0.07)
    return [
        Part(ellipse(0, 0.74, 0.3, 0.07), stem),
        Part(mirrored(smooth([(0.03, -0.1), (0.035, 0.3), (0.09, 0.5), (0.06, 0.66), (0.16, 0.74)])), stem),
        Part(glow, "light"),
        Part(shade),
    ]


def clock(vary: Vary) -> list[Part]:
    """A round dial with twelve marks and two hands, in a patterned frame."""
    radius, face = 0.74, vary(0.5, 0.55)
    minute = 2 * pi * vary(0, 1)
    hour = 2 * pi * vary(0, 1)
    marks = [
        Part([(r * sin(step * pi / 6), -r * cos(step * pi / 6)) for r in (face * 0.8, face * 0.93)], "ink", 0.03)
        for step in range(12)
    ]
    return [
        Part(ellipse(0, 0, radius, radius)),
        Part(ellipse(0, 0, face + 0.03, face + 0.03), "dark"),
        Part(ellipse(0, 0, face, face), "white"),
        *marks,
        Part([(0, 0), (0.28 * sin(hour), -0.28 * cos(hour))], "ink", 0.055),
        Part([(0, 0), (0.42 * sin(minute), -0.42 * cos(minute))], "ink", 0.035),
        Part(ellipse(0, 0, 0.045, 0.045), "ink"),
    ]


def cushion(vary: Vary) -> list[Part]:
    """A plump square with drawn-out corners and piping."""
    side, waist, tall = 0.66, vary(0.57, 0.63), vary(0.6, 0.66)
    corners = [(-side, -tall), (side, -tall), (side, tall), (-side, tall)]
    middles = [(0, -waist), (waist, 0), (0, waist), (-waist, 0)]
    outline = [
        point
        for start, through, end in zip(corners, middles, corners[1:] + corners[:1], strict=True)
        for point in smooth([start, start, through, end, end])
    ]
    return [Part(outline, "dark", 0.045), Part(outline)]


def armchair(vary: Vary) -> list[Part]:
    """A chair from the front: high back, seat, two arms, wooden legs."""
    back, arm = -vary(0.68, 0.8), vary(0.14, 0.19)
    legs = [Part([(x, 0.5), (x * 1.1, 0.82)], "wood", 0.075) for x in (-0.46, 0.46)]
    return [
        *legs,
        Part(rounded(0, (back + 0.4) / 2, 0.5, (0.4 - back) / 2, 0.2)),
        Part(rounded(0, 0.4, 0.5, 0.18, 0.06), "dark"),
        *(Part(rounded(x, 0.22, arm, 0.36, 0.13), "colour") for x in (-0.58, 0.58)),
        Part(rounded(0, 0.2, 0.43, 0.13, 0.1), "light"),
    ]


def backpack(vary: Vary) -> list[Part]:
    """A rucksack from the front: loop, straps, body, front pocket with zips."""
    wide, pocket = vary(0.44, 0.52), vary(0.22, 0.32)
    body = mirrored(
        [
            *smooth([(0, -0.72), (0.3, -0.68), (wide, -0.36), (wide, 0)]),
            *smooth([(wide, 0.55), (wide - 0.08, 0.72), (0, 0.74)]),
        ]
    )
    return [
        Part(ellipse(0, -0.72, 0.13, 0.13, 1, 2), "dark", 0.06),
        *(
            Part(smooth([(s * 0.34, -0.5), (s * (wide + 0.16), 0), (s * (wide - 0.02), 0.6)]), "dark", 0.11)
            for s in (-1, 1)
        ),
        Part(body),
        Part(
            smooth([(-wide + 0.09, -0.22), (-0.3, -0.5), (0, -0.56), (0.3, -0.5), (wide - 0.09, -0.22)]), "ink", 0.025
        ),
        Part(rounded(0, 0.38, wide - 0.1, pocket, 0.12), "colour"),
        Part([(-wide + 0.18, 0.5 - pocket), (wide - 0.18, 0.5 - pocket)], "metal", 0.03),
        Part([(wide - 0.2, 0.5 - pocket), (wide - 0.2, 0.6 - pocket)], "metal", 0.035),
    ]


def sneaker(vary: Vary) -> list[Part]:
    """A laced low shoe from the side, toe to the right."""
    heel, toe = -vary(0.34, 0.42), vary(0.06, 0.14)
    top = smooth(
        [(-0.78, 0.36), (-0.8, 0.05), (-0.74, heel), (-0.52, heel + 0.08), (-0.3, heel + 0.06), (-0.12, heel - 0.02)]
    )
    front = smooth([(-0.12, heel - 0.02), (0.14, -0.12), (0.42, 0.02), (0.7, toe), (0.84, 0.24), (0.84, 0.36)])
    laces = [
        Part([(x - 0.09, y + 0.09), (x + 0.1, y - 0.03)], "white", 0.04)
        for x, y in ((-0.1, heel + 0.14), (0.02, heel + 0.23), (0.15, heel + 0.31), (0.28, heel + 0.38))
    ]
    cap = [*smooth([(0.5, 0.36), (0.52, 0.16), (0.64, 0.08)]), *smooth([(0.7, toe), (0.84, 0.24), (0.84, 0.36)])]
    return [
        Part([*top, *front]),
        Part(cap, "white"),
        Part([*smooth([(-0.8, 0.36), (-0.82, 0.05), (-0.72, 0.1), (-0.62, 0.36)])], "dark"),
        *laces,
        Part([(-0.82, 0.34), (0.86, 0.34), *smooth([(0.9, 0.42), (0.84, 0.52), (0.7, 0.54)]), (-0.78, 0.54)], "white"),
        Part([(-0.8, 0.46), (0.86, 0.46)], "colour", 0.035),
    ]


def t_shirt(vary: Vary) -> list[Part]:
    """A shirt laid flat, with short sleeves and a round neck."""
    waist, sleeve = vary(0.4, 0.46), vary(0.08, 0.2)
    right = [
        (0.18, -0.66),
        (0.42, -0.58),
        (0.8, sleeve - 0.26),
        (0.62, sleeve - 0.06),
        (0.44, -0.26),
        (waist, 0.7),
        (0, 0.73),
    ]
    return [
        Part(mirrored([*smooth([(0, -0.62), (0.18, -0.66)]), *right])),
        *(Part([(s * 0.44, -0.26), (s * 0.46, -0.5)], "dark", 0.012) for s in (-1, 1)),
        Part(ellipse(0, -0.66, 0.19, 0.07), "dark"),
        Part(ellipse(0, -0.66, 0.2, 0.16, 0, 1), "colour", 0.045),
    ]


def dress(vary: Vary) -> list[Part]:
    """A sleeveless dress with straps, a belt and a flared skirt."""
    hem, waist = vary(0.46, 0.62), vary(0.17, 0.22)
    skirt = [
        (waist, -0.12),
        *smooth([(waist, -0.12), (hem * 0.62, 0.3), (hem, 0.78)]),
        *smooth([(hem, 0.78), (hem / 2, 0.83), (0, 0.8)]),
    ]
    bodice = [
        *smooth([(0, -0.46), (0.14, -0.54), (0.22, -0.56)]),
        *smooth([(0.22, -0.56), (0.25, -0.36), (waist, -0.12)]),
    ]
    return [
        *(Part(smooth([(s * 0.17, -0.52), (s * 0.15, -0.7), (s * 0.12, -0.84)]), "colour", 0.05) for s in (-1, 1)),
        Part(mirrored(skirt)),
        Part(mirrored(bodice)),
        *(Part([(x * waist, -0.08), (x * hem, 0.72)], "dark", 0.012) for x in (-0.5, 0, 0.5)),
        Part(rounded(0, -0.12, waist + 0.015, 0.04, 0.02), "dark"),
    ]


def umbrella(vary: Vary) -> list[Part]:
    """An open umbrella: scalloped dome with ribs, stick and crook."""
    wide, edge = vary(0.74, 0.84), 0.06
    scallops = [(wide * (1 - 0.5 * step), wide * (0.5 - 0.5 * step)) for step in range(4)]
    rim = [point for start, end in scallops for point in ellipse((start + end) / 2, edge, wide / 4, 0.07, 0, -1)]
    dome = [*ellipse(0, edge, wide, vary(0.66, 0.76), 1, 2), *rim]
    crook = [(0, -0.1), (0, 0.7), *ellipse(-0.11, 0.7, 0.11, 0.12, 0, 1)]
    ribs = [
        Part(smooth([(0, -0.64), (x * wide * 0.65, -0.38), (x * wide, edge)]), "dark", 0.014) for x in (-0.5, 0, 0.5)
    ]
    return [
        Part([(0, -0.6), (0, -0.8)], "metal", 0.035),
        Part(crook[:2], "metal", 0.04),
        Part([(0, 0.48), *crook[1:]], "wood", 0.065),
        Part(dome),
        *ribs,
    ]


SHAPES: dict[str, Callable[[Vary], list[Part]]] = {
    "mug": mug,
    "teapot": teapot,
    "vase": vase,
    "lamp": lamp,
    "clock": clock,
    "cushion": cushion,
    "armchair": armchair,
    "backpack": backpack,
    "sneaker": sneaker,
    "t-shirt": t_shirt,
    "dress": dress,
    "umbrella": umbrella,
}
STANDING = frozenset({"mug", "teapot", "vase", "lamp", "armchair", "backpack", "sneaker"})
"""Types that stand on the ground and throw their shadow there."""
