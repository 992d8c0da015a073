"""Product texts from templates: a family always shows, in words that vary."""

from typing import Any

import numpy as np

from pipeline.sample.families import Families
from pipeline.sample.vocabulary import BRANDS, COLOURS, PRODUCTS, TEXTURE_SENTENCES, TEXTURES

_TITLES = (
    "{brand} {texture} {noun} in {colour}",
    "{Colour} {texture} {noun} by {brand}",
    "{brand} {noun}, {colour}, {texture}",
    "{Texture} {colour} {noun}",
    "{brand} {colour} {noun} ({texture})",
)
_OPENINGS = (
    "{A} {colour} {noun} with {a_texture} look.",
    "This {texture} {noun} comes in {colour}.",
    "Our {colour} {noun} brings {a_texture} touch to every day.",
    "{A} {noun} in {colour} for people who like {texture} things.",
)
_CLOSINGS = ("Made for {use}.", "Ideal for {use}.", "A good choice for {use}.", "Just right for {use}.")


def write_text(families: Families, item: int, rng: np.random.Generator) -> dict[str, Any]:
    """Title, description, categories, brand and price of an item; null where the item has a gap."""
    kind, colour, texture = families.names(item)
    product = PRODUCTS[kind]

    def pick(options: tuple[str, ...]) -> str:
        return options[rng.integers(len(options))]

    words = {
        "brand": pick(BRANDS),
        "noun": pick(product.nouns),
        "colour": pick(COLOURS[colour].words),
        "texture": pick(TEXTURES[texture]),
        "use": pick(product.uses),
    }
    title = _fill(pick(_TITLES), words)
    sentences = [_fill(pick(_OPENINGS), words | {"noun": pick(product.nouns)})]
    sentences += [product.facts[place] for place in rng.permutation(len(product.facts))[:2]]
    sentences += [pick(TEXTURE_SENTENCES[texture]), _fill(pick(_CLOSINGS), words)]
    has_text = item not in families.no_text
    low, high = product.price
    return {
        "title": title if has_text else None,
        "description": " ".join(sentences) if has_text and item not in families.no_description else None,
        "categories": list(product.category) if has_text else None,
        "brand": words["brand"],
        "price": round(float(rng.uniform(low, high))) - 0.05,
    }


def _fill(template: str, words: dict[str, str]) -> str:
    first = words["colour"] if template.startswith("{A} {colour}") else words["noun"]
    text = template.format(
        **words,
        A=_article(first).capitalize(),
        a_texture=f"{_article(words['texture'])} {words['texture']}",
        Colour=words["colour"],
        Texture=words["texture"],
    )
    return text[0].upper() + text[1:]


def _article(word: str) -> str:
    return "an" if word[0].lower() in "aeiou" and not word.startswith("uni") else "a"
