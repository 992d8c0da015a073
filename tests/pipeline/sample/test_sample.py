import dataclasses
from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest
from PIL import Image

from pipeline.config.config import load_config
from pipeline.errors import InputError
from pipeline.sample import write_sample
from pipeline.sample.families import COLOUR_NAMES, TEXTURE_NAMES, TYPE_NAMES, draw_families
from pipeline.sample.patterns import PATTERNS
from pipeline.sample.pictures import SIDE, render
from pipeline.sample.shapes import SHAPES, STANDING
from pipeline.sample.tastes import draw_interactions, draw_likes
from pipeline.sample.vocabulary import COLOURS, PRODUCTS, TEXTURE_SENTENCES

NUM_ITEMS, NUM_USERS = 96, 120
FACTORS = ("type", "colour", "texture")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sample")
    write_sample(folder, num_items=NUM_ITEMS, num_users=NUM_USERS, seed=3)
    return folder


@pytest.fixture(scope="module")
def items(folder):
    return pl.read_parquet(folder / "items.parquet")


@pytest.fixture(scope="module")
def purchases():
    """Interactions in the sample's default size, with the hidden factors of their items; no picture is drawn."""
    families = draw_families(600, np.random.default_rng(1))
    likes = draw_likes(800, np.random.default_rng(2))
    drawn = draw_interactions(families, likes, np.random.default_rng(3))
    factors = families.factor_IF[drawn.item_R].T
    columns = {"user": drawn.user_R, "item": drawn.item_R, "rating": drawn.rating_R, "second": drawn.second_R}
    return pl.DataFrame(columns | dict(zip(FACTORS, factors, strict=True))).with_columns(
        pl.Series(f"likes_{name}", liked[drawn.user_R, value])
        for name, liked, value in zip(FACTORS, likes, factors, strict=True)
    )


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_write_sample_same_seed_gives_identical_files(folder, tmp_path):
    write_sample(tmp_path / "again", num_items=NUM_ITEMS, num_users=NUM_USERS, seed=3)
    assert contents(tmp_path / "again") == contents(folder)


def test_write_sample_other_seed_gives_other_pictures_and_tastes(folder, tmp_path):
    write_sample(tmp_path, num_items=NUM_ITEMS, num_users=NUM_USERS, seed=4)
    first, second = contents(folder), contents(tmp_path)
    same = {path.name for path in first.keys() & second.keys() if first[path] == second[path]}
    assert same == {"microrec.toml"}


def test_write_sample_again_into_the_same_folder_keeps_an_edited_configuration(tmp_path):
    write_sample(tmp_path, num_items=20, num_users=10)
    before = contents(tmp_path)
    (tmp_path / "items.parquet").unlink()
    (tmp_path / "microrec.toml").write_text("# mine")
    (tmp_path / "microrec-store").mkdir()
    write_sample(tmp_path, num_items=20, num_users=10)
    after = contents(tmp_path)
    changed = {path.name for path in before if after.pop(path) != before[path]}
    assert (changed, after) == ({"microrec.toml"}, {})
    assert (tmp_path / "microrec.toml").read_text() == "# mine"


@pytest.mark.parametrize("name", ["items.parquet", "images", "note.txt", ".hidden"])
def test_write_sample_folder_with_foreign_content_is_refused(tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(InputError, match="holds something that is not a sample; choose an empty or a new folder"):
        write_sample(tmp_path, num_items=20, num_users=10)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_write_sample_other_numbers_or_a_file_are_refused(tmp_path):
    write_sample(tmp_path / "a", num_items=20, num_users=10)
    with pytest.raises(InputError, match="holds another sample"):
        write_sample(tmp_path / "a", num_items=21, num_users=10)
    with pytest.raises(InputError, match="is a file"):
        write_sample(tmp_path / "a" / "items.parquet")
    with pytest.raises(InputError, match="at least 20 items, 10 users"):
        write_sample(tmp_path / "b", num_items=19)


def test_write_sample_configuration_loads_and_finds_its_files(folder):
    config = load_config(folder / "microrec.toml")
    assert config.path(config.catalogue.items).exists()
    assert config.path(config.catalogue.interactions[0]).exists()
    assert (config.path(config.catalogue.image_root) / "images").is_dir()
    assert set(config.modalities) == {"image", "text"}


def test_write_sample_gaps_are_there(folder, items):
    path, text = pl.col("image_path"), pl.col("title").is_null() & pl.col("categories").is_null()
    assert items.filter(path.is_null()).height >= 3
    assert items.filter(text & pl.col("description").is_null()).height >= 3
    assert items.filter(path.is_null() & text).height >= 1
    assert items.filter(text.not_() & pl.col("description").is_null()).height >= 1
    named = items["image_path"].drop_nulls().to_list()
    assert sum(not (folder / name).exists() for name in named) == 2
    assert sum(_is_broken(folder / name) for name in named if (folder / name).exists()) == 1
    bought = pl.read_parquet(folder / "interactions.parquet")["item_id"].unique()
    assert 4 <= NUM_ITEMS - len(bought) <= NUM_ITEMS // 4


def _is_broken(path):
    try:
        with Image.open(path) as image:
            image.load()
    except OSError:
        return True
    return False


def test_write_sample_smallest_has_every_gap_and_some_items_without_any(tmp_path):
    families = draw_families(20, np.random.default_rng(0))
    gaps = [
        value for value in (getattr(families, f.name) for f in dataclasses.fields(families)) if type(value) is frozenset
    ]
    assert len(gaps) == 6
    assert all(gaps)
    assert len(frozenset().union(*gaps)) < 15


def test_write_sample_interactions_are_unique_dated_and_rated(folder):
    table = pl.read_parquet(folder / "interactions.parquet")
    assert table.select("user_id", "item_id").is_unique().all()
    assert table["user_id"].str.contains(r"^U\d{4}$").all()
    assert table["item_id"].str.contains(r"^P\d{5}$").all()
    assert table["timestamp"].is_between(datetime(2025, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)).all()
    assert set(table["rating"]) == {1.0, 2.0, 3.0, 4.0, 5.0}
    counts = table.group_by("user_id").len()
    assert counts.height == NUM_USERS
    assert counts["len"].is_between(15, 25).all()


def concentration(purchases, factor):
    """Mean over users of the share of purchases that fall on their two most frequent values of a factor."""
    counts = purchases.group_by("user", factor).len()
    return counts.group_by("user").agg(pl.col("len").top_k(2).sum() / pl.col("len").sum())["len"].mean()


@pytest.mark.parametrize(("factor", "margin"), [("type", 1.6), ("colour", 1.25), ("texture", 1.1)])
def test_draw_interactions_users_keep_to_few_values(purchases, factor, margin):
    """Against the same purchases dealt to users at random."""
    shuffled = purchases.with_columns(pl.col("user").shuffle(seed=0))
    assert concentration(purchases, factor) > margin * concentration(shuffled, factor)


@pytest.mark.parametrize(("factor", "margin"), [("type", 2.5), ("colour", 1.6), ("texture", 1.3)])
def test_draw_interactions_users_buy_what_they_like(purchases, factor, margin):
    shuffled = purchases.with_columns(pl.col("user").shuffle(seed=0))
    likes = purchases.select("user", factor, f"likes_{factor}").unique()
    dealt = shuffled.drop(f"likes_{factor}").join(likes, on=["user", factor], how="left")
    assert purchases[f"likes_{factor}"].mean() > margin * dealt[f"likes_{factor}"].fill_null(False).mean()


def test_draw_interactions_half_of_a_users_purchases_foretells_the_other(purchases):
    seen = (pl.int_range(pl.len()).over("user") % 2 == 0).alias("seen")
    halves = purchases.sort("user", "second").with_columns(seen)
    favourite = halves.filter("seen").group_by("user").agg(pl.col("type").mode().min().alias("favourite"))
    later = halves.filter(~pl.col("seen")).join(favourite, on="user")
    by_chance = (later["type"] == later["favourite"].shuffle(seed=0)).mean()
    assert (later["type"] == later["favourite"]).mean() > 2 * by_chance


def test_draw_interactions_liked_types_are_rated_higher(purchases):
    mean = dict(purchases.group_by("likes_type").agg(pl.col("rating").mean()).iter_rows())
    assert mean[True] > mean[False] + 0.8


def test_draw_interactions_some_items_sell_far_more(purchases):
    counts = purchases.group_by("item").len()["len"].sort(descending=True)
    assert counts.head(60).sum() > 2 * counts.sum() / 10
    assert counts[0] < 800 / 4


def test_write_sample_texts_name_the_family(items, folder):
    described = items.join(pl.read_parquet(folder / "families.parquet"), on="item_id").drop_nulls("title")
    for row in described.iter_rows(named=True):
        title = row["title"].lower()
        assert any(noun.lower() in title for noun in PRODUCTS[row["type"]].nouns), title
        assert any(word in title for word in COLOURS[row["colour"]].words), title
        assert row["categories"] == list(PRODUCTS[row["type"]].category)
        assert "{" not in title + (row["description"] or "")
    assert described["title"].n_unique() > 0.8 * described.height


def test_write_sample_pictures_of_a_type_resemble_each_other(folder, items):
    """By silhouette alone: the nearest picture is mostly of the same type."""
    named = items.join(pl.read_parquet(folder / "families.parquet"), on="item_id").drop_nulls("image_path")
    rows = [row for row in named.iter_rows(named=True) if not _is_broken(folder / row["image_path"])]
    outlines = np.stack([_outline(folder / row["image_path"]) for row in rows])
    distances = ((outlines[:, None] - outlines[None]) ** 2).mean((2, 3))
    np.fill_diagonal(distances, np.inf)
    types = np.array([row["type"] for row in rows])
    assert np.mean(types == types[distances.argmin(1)]) > 0.8


def _outline(path):
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB").resize((32, 32)), dtype=float)
    return (np.abs(pixels - np.median(pixels, axis=(0, 1))).sum(2) > 40).astype(float)


def test_render_colour_of_the_product_shows():
    for name, colour in COLOURS.items():
        image = render("cushion", name, "plain", np.random.default_rng(0))
        assert image.size == (SIDE, SIDE)
        middle = np.asarray(image, dtype=float)[110:146, 110:146].mean((0, 1))
        nearest = min(COLOURS, key=lambda other: np.abs(np.array(COLOURS[other].paint) - middle).sum())
        assert nearest == name, (colour.paint, middle)


def test_render_background_is_bright_and_corners_stay_free():
    for kind in SHAPES:
        for seed in range(4):
            pixels = np.asarray(render(kind, "black", "plain", np.random.default_rng(seed)), dtype=float)
            edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
            assert edge.min() > 120, kind


def test_vocabulary_every_factor_has_words_and_paint():
    assert set(SHAPES) == set(TYPE_NAMES)
    assert set(TYPE_NAMES) > STANDING
    assert set(PATTERNS) == set(TEXTURE_NAMES) == set(TEXTURE_SENTENCES)
    assert set(COLOUR_NAMES) == set(COLOURS)
