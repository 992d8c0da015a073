"""Small data sets in the files that the published ones have: same names, same syntax, invented content."""

import gzip
import json
import random

import numpy as np

NUM_USERS, NUM_ITEMS, NUM_TASTES = 30, 24, 3
UNKNOWN_TO_METADATA = 5
"""This item has reviews and no metadata."""
WITHOUT_IMAGE = 7


def asin(item):
    return f"B{item:09d}"


def draw_interactions(seed=0):
    """(user, item, rating, seconds): every user has six items, most of one taste; every item is touched."""
    draw = random.Random(seed)
    for user in range(NUM_USERS):
        liked = [item for item in range(NUM_ITEMS) if item % NUM_TASTES == user % NUM_TASTES]
        chosen = [user % NUM_ITEMS, *(item for item in draw.sample(liked, 6) if item != user % NUM_ITEMS)]
        for step, item in enumerate(chosen[:6]):
            yield user, item, float(draw.randint(1, 5)), 1_300_000_000 + 86_400 * (user + step)


def draw_vectors(dim, seed=0):
    """float32 (NUM_ITEMS, dim), alike within a taste."""
    noise = np.random.default_rng(seed)
    taste = noise.normal(size=(NUM_TASTES, dim))
    return np.float32(taste[np.arange(NUM_ITEMS) % NUM_TASTES] + 0.3 * noise.normal(size=(NUM_ITEMS, dim)))


def write_lines(path, lines):
    payload = "".join(f"{line}\n" for line in lines).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(payload) if path.suffix == ".gz" else payload)
    return path


def write_image_features(path, records):
    """`records` is (id of 10 bytes, 4096 numbers) each."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(name + np.asarray(vector, "<f4").tobytes() for name, vector in records))
    return path


def write_amazon_2014(folder, category):
    reviews = [
        json.dumps(
            {
                "reviewerID": f"A{user:04d}",
                "asin": asin(item),
                "helpful": [0, 0],
                "reviewText": 'It\'s "fine".',
                "overall": rating,
                "unixReviewTime": seconds,
                "reviewTime": "03 13, 2011",
            }
        )
        for user, item, rating, seconds in draw_interactions()
    ]
    write_lines(folder / f"reviews_{category}_5.json.gz", reviews)
    metadata = [
        repr(
            {
                "asin": asin(item),
                "categories": [["Baby", "Nursery"], ["Baby", f"Taste {item % NUM_TASTES}"]],
                "title": f'Mobile\'s "best" № {item}',
                "related": {"also_bought": [asin(item + 1)]},
                "imUrl": f"http://images.example/I/{item}._SY300_.jpg",
                "price": 3.5,
            }
        )
        for item in range(NUM_ITEMS + 10)
        if item != UNKNOWN_TO_METADATA
    ]
    write_lines(folder / f"meta_{category}.json.gz", metadata)
    vectors = draw_vectors(4096)
    named = [(asin(item).encode(), vector) for item, vector in enumerate(vectors) if item != WITHOUT_IMAGE]
    write_image_features(folder / f"image_features_{category}.b", [*named, (b"B999999999", vectors[0])])


def write_amazon_2023(folder, category):
    parts = {"train": [], "valid": [], "test": []}
    rows = list(draw_interactions())
    for place, (user, item, rating, seconds) in enumerate(rows):
        left = sum(row[0] == user for row in rows[place + 1 :])
        part = {0: "test", 1: "valid"}.get(left, "train")
        parts[part].append(f"U{user:04d},{asin(item)},{rating},{seconds}123,{asin(0)} {asin(1)}")
    for part, lines in parts.items():
        write_lines(
            folder / f"{category}.{part}.csv{'.gz' if part == 'train' else ''}",
            ["user_id,parent_asin,rating,timestamp,history", *lines],
        )
    metadata = [
        json.dumps(
            {
                "main_category": "Baby",
                "title": f"Rattle № {item}",
                "features": ["Soft", f"Taste {item % NUM_TASTES}"],
                "description": [] if item % 2 else ["Two", "parts"],
                "price": None if item % 3 else "—",
                "images": [{"thumb": "t", "large": f"https://images.example/I/{item}._AC_.jpg", "hi_res": None}],
                "store": None,
                "categories": ["Baby Products", "Toys"],
                "details": {"Age": item} if item % 2 else {"Weight": "1 kg"},
                "parent_asin": asin(item),
            }
        )
        for item in range(NUM_ITEMS + 10)
        if item != UNKNOWN_TO_METADATA
    ]
    write_lines(folder / f"meta_{category}.jsonl.gz", metadata)


def write_mmrec(folder, name):
    lines, seen = ["userID\titemID\trating\ttimestamp\tx_label"], {}
    for user, item, rating, seconds in draw_interactions():
        seen[user] = seen.get(user, 0) + 1
        label = {1: 1, 2: 2}.get(seen[user], 0)
        lines.append(f"{user}\t{item}\t{rating}\t{seconds}\t{label}")
    write_lines(folder / f"{name}.inter", lines)
    write_lines(folder / "i_id_mapping.csv", ["asin\titemID", *(f"{asin(item)}\t{item}" for item in range(NUM_ITEMS))])
    np.save(folder / "image_feat.npy", draw_vectors(4096))
    np.save(folder / "text_feat.npy", draw_vectors(384, seed=1).astype(np.float64))
