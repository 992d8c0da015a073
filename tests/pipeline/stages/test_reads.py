"""How often a night reads a picture, counted where files are opened and objects are fetched."""

import dataclasses
import io
import os
import time
from collections import Counter
from itertools import chain
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import s3fs
from PIL import Image

from features.encoder import Encoder, EncoderSpec
from features.pictures import decoded
from features.registry import ENCODERS
from pipeline import stages
from pipeline.config.config import compose
from pipeline.dataset.dataset import load_dataset
from pipeline.dataset.feature_store import FeatureStore
from pipeline.opening import open_run
from pipeline.run import Stage, run_stage
from pipeline.stages import extract_pictures, validate_pictures
from pipeline.stages.encoding import DEFAULT, Limits
from pipeline.stages.extract import extract_features, extract_pinned
from pipeline.stages.order import do_stage
from pipeline.stages.results import ExtractResult
from pipeline.stages.validate import check_catalogue
from pipeline.storage.files import publish_bytes, resolve
from tests.pipeline.release_factory import quiet

NUM_PICTURES = 11
SAME, BROKEN, ABSENT = 3, 4, 5
"""The picture that shows what the first does, the one that is none, and the one that is not there."""
LOADS: list[str] = []


class KilledError(Exception):
    """Stands for the end of the process."""


def mean_colour(payload):
    with decoded(payload) as image:
        return np.asarray(image, np.float32).mean((0, 1))


def colour(config, name, content):
    def load():
        LOADS.append("colour")
        return Encoder(3, mean_colour, np.stack, "cpu")

    return EncoderSpec(name="colour", content="image", revision="1", load=load)


def picture(red):
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), (red, 0, 1)).save(buffer, "PNG")
    return buffer.getvalue()


@dataclasses.dataclass
class Shop:
    """A catalogue of pictures, and how often each was read."""

    config: object
    root: object
    reads: Counter
    listings: Counter

    def put(self, name, payload, age=60):
        publish_bytes(self.root / name, payload)
        if not str(self.root).startswith("s3"):
            moment = time.time() - age
            os.utime(self.root / name, (moment, moment))

    def night(self, run_id, shards=1):
        """Validate, extract in shards, prepare; the reads of each picture."""
        self.reads.clear(), self.listings.clear(), LOADS.clear()
        run = open_run(self.config, run_id, quiet())
        do_stage(run, stages.VALIDATE)
        for index in range(shards):
            self.shard(run, index, shards)
        do_stage(run, stages.PREPARE)
        return dict(self.reads)

    def shard(self, run, index, count):
        stage = Stage(f"extract-image-{index}-{count}", ExtractResult)
        return run_stage(run, stage, lambda this, _: extract_pinned(this, "image", (index, count)))

    def reds(self, run_id):
        """The prepared feature of every picture, None of items without."""
        dataset = load_dataset(open_run(self.config, run_id, quiet()).folder(stages.PREPARE))
        order = np.argsort(dataset.items["item_id"].to_numpy())
        rows = zip(dataset.present["image"][order], dataset.features["image"][order], strict=True)
        return [int(vector[0]) if present else None for present, vector in rows]


@pytest.fixture(params=["local", "s3"])
def shop(request, tmp_path, monkeypatch):
    monkeypatch.setitem(ENCODERS, "colour", colour)
    reads, listings = count_reads(monkeypatch), count_listings(monkeypatch)
    on_disk = request.param == "local"
    root = resolve(str(tmp_path) if on_disk else f"s3://{request.getfixturevalue('s3_bucket')}/shop", Path())
    ids = [f"item-{number:02}" for number in range(NUM_PICTURES)]
    pl.DataFrame({"item_id": ids, "image_path": [f"{one}.png" for one in ids]}).write_parquet(
        tmp_path / "items.parquet"
    )
    pairs = [(f"u{user}", item) for user in range(4) for item in ids[user : user + 8]]
    pl.DataFrame(pairs, ["user_id", "item_id"], orient="row").write_parquet(tmp_path / "interactions.parquet")
    document = {
        "catalogue": {"items": "items.parquet", "interactions": ["interactions.parquet"], "image_root": str(root)},
        "modalities": {"image": {"encoder": "colour", "batch_size": 2}},
        "store": {"root": f"{root}/store"},
        "mlflow": {"tracking_uri": f"sqlite:///{tmp_path}/mlflow.db"},
    }
    made = Shop(compose(document, base=tmp_path), root, reads, listings)
    for number, item in enumerate(ids):
        if number != ABSENT:
            made.put(
                f"{item}.png", b"no picture" if number == BROKEN else picture(0 if number == SAME else 10 * number)
            )
    reads.clear()
    return made


def count_reads(monkeypatch):
    """Pictures that are opened on a disk or fetched from a store, by name."""
    counted, open_file, call = Counter(), Path.open, s3fs.S3FileSystem._call_s3

    def opening(path, mode="r", *arguments, **given):
        if path.suffix == ".png" and "r" in mode:
            counted[path.name] += 1
        return open_file(path, mode, *arguments, **given)

    async def calling(fs, method, *arguments, **given):
        if method == "get_object" and given["Key"].endswith(".png"):
            counted[given["Key"].rpartition("/")[2]] += 1
        return await call(fs, method, *arguments, **given)

    monkeypatch.setattr(Path, "open", opening)
    monkeypatch.setattr(s3fs.S3FileSystem, "_call_s3", calling)
    return counted


def count_listings(monkeypatch):
    counted, listed = Counter(), validate_pictures.list_pictures

    def listing(*arguments):
        counted["listings"] += 1
        return listed(*arguments)

    for module in ("stages.validate_pictures", "stages.extract_pictures", "dataset.features"):
        monkeypatch.setattr(f"pipeline.{module}.list_pictures", listing)
    return counted


THERE = [f"item-{number:02}.png" for number in range(NUM_PICTURES) if number != ABSENT]
ONCE = dict.fromkeys(THERE, 1)
REDS = [10 * number for number in range(NUM_PICTURES)]
REDS[SAME], REDS[BROKEN], REDS[ABSENT] = 0, None, None


@pytest.mark.parametrize(("shards", "sample"), [(1, 0), (3, 4)])
def test_night_new_picture_is_read_once_and_an_unchanged_one_never(shop, shards, sample, monkeypatch):
    monkeypatch.setattr(validate_pictures, "SAMPLE", sample)
    assert shop.night("first", shards) == ONCE
    assert shop.reds("first") == REDS
    assert shop.night("unchanged", shards) == {}
    assert (LOADS, shop.listings["listings"]) == ([], 1)
    assert shop.reds("unchanged") == REDS
    shop.put("item-01.png", picture(11))
    shop.put(f"item-{ABSENT:02}.png", picture(50))
    assert shop.night("changed", shards) == {"item-01.png": 1, f"item-{ABSENT:02}.png": 1}
    assert shop.reds("changed") == [0, 11, 20, 0, None, *(10 * number for number in range(5, NUM_PICTURES))]


def test_night_shard_that_is_killed_reads_only_its_own_pictures_again(shop, monkeypatch):
    monkeypatch.setattr(validate_pictures, "SAMPLE", 0)
    run, encode = open_run(shop.config, "night", quiet()), Encoder.encode
    do_stage(run, stages.VALIDATE)
    shop.shard(run, 0, 2)
    others = dict(shop.reads)

    def dying(encoder, prepared):
        monkeypatch.setattr(Encoder, "encode", killed)
        return encode(encoder, prepared)

    def killed(encoder, prepared):
        raise KilledError

    monkeypatch.setattr(Encoder, "encode", dying)
    with pytest.raises(KilledError):
        shop.shard(run, 1, 2)
    monkeypatch.setattr(Encoder, "encode", encode)
    again = shop.shard(run, 1, 2).modalities["image"]
    do_stage(run, stages.PREPARE)
    assert others.items() <= shop.reads.items()
    assert set(shop.reads) == set(THERE)
    assert max(shop.reads.values()) == 2
    assert again.encoded > 0
    assert shop.reds("night") == REDS


def test_every_picture_has_one_shard():
    pictures = pl.DataFrame({"image_path": [f"{number}.png" for number in range(100)]})
    shares = [extract_pictures._share(pictures, (index, 4))["image_path"].to_list() for index in range(4)]
    assert sorted(chain.from_iterable(shares)) == sorted(pictures["image_path"])
    assert min(map(len, shares)) > 10


@pytest.mark.parametrize("shop", ["local"], indirect=True)
def test_night_what_is_remembered_has_its_features(shop, monkeypatch):
    monkeypatch.setattr(validate_pictures, "SAMPLE", 0)
    write = FeatureStore.write_part

    def killed(*_):
        raise KilledError

    monkeypatch.setattr(FeatureStore, "write_part", killed)
    run = open_run(shop.config, "night", quiet())
    with pytest.raises(KilledError):
        do_stage(run, stages.EXTRACT)
    assert not (shop.root / "store/contents").exists()
    monkeypatch.setattr(FeatureStore, "write_part", write)
    do_stage(run, stages.EXTRACT)
    do_stage(run, stages.PREPARE)
    assert shop.reds("night") == REDS


def test_night_one_content_in_two_shards_and_a_picture_that_moves_within_it(shop, monkeypatch):
    monkeypatch.setattr(validate_pictures, "SAMPLE", 0)
    run = open_run(shop.config, "night", quiet())
    do_stage(run, stages.VALIDATE)
    shop.put("item-01.png", picture(99))
    (shop.root / "item-02.png").unlink()
    shards = [shop.shard(run, index, NUM_PICTURES).modalities["image"] for index in range(NUM_PICTURES)]
    do_stage(run, stages.PREPARE)
    assert sum(shard.encoded for shard in shards) == len(THERE) - 2  # one is gone, one shows what another does
    assert shop.reds("night") == [0, 99, None, *REDS[3:]]
    assert shop.reads["item-01.png"] == 2  # `prepare` looks, for it is not the one that `validate` has seen


def test_night_contents_are_not_trusted(shop):
    shop.config = shop.config.with_values({"catalogue.trust": "content"})
    for night in ("first", "second"):
        assert shop.night(night, 2) == dict.fromkeys(THERE, 2)
    assert shop.reds("second") == REDS


@pytest.mark.parametrize("shop", ["local"], indirect=True)
def test_night_file_written_as_it_was_read_is_not_trusted(shop, monkeypatch):
    shop.put("item-01.png", picture(11), age=-1)
    shop.night("first")
    file = shop.root / "item-01.png"
    before = Path(file).stat()
    file.write_bytes(picture(12))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert Path(file).stat().st_size == before.st_size
    assert shop.night("second") == {"item-01.png": 1}
    assert shop.reds("second")[1] == 12


def test_extract_another_encoder_reads_each_content_once(shop):
    shop.night("first")
    shop.reads.clear()
    other = EncoderSpec(name="other", content="image", revision="1", load=colour(None, "", "image").load)
    ENCODERS["colour"] = lambda *_: other  # the fixture takes it back
    run = open_run(shop.config, "first", quiet())
    done = extract_features(run, limits=Limits(remembered_at_once=1)).modalities["image"]
    assert sum(shop.reads.values()) == done.encoded == len(THERE) - 1
    assert max(shop.reads.values()) == 1


@pytest.mark.parametrize("shop", ["local"], indirect=True)
def test_validate_estimates_what_it_has_not_decoded(shop, monkeypatch):
    monkeypatch.setattr(validate_pictures, "SAMPLE", 6)
    for name in THERE:
        shop.put(name, b"no picture " + name.encode())
    image = check_catalogue(shop.config).modalities["image"]
    assert (image.usable, image.unreadable, image.unread, image.estimated_unreadable) == (0, 6, 4, 4)
    assert sum(shop.reads.values()) == 6
    image = check_catalogue(shop.config, deep=True).modalities["image"]
    assert (image.usable, image.unreadable, image.unread, image.estimated_unreadable) == (0, 10, 0, 0)
    assert DEFAULT.remembered_at_once >= validate_pictures.SAMPLE


@pytest.mark.parametrize("shop", ["s3"], indirect=True)
def test_listing_of_a_store_is_a_request_for_many_objects(shop, monkeypatch):
    asked, call = Counter(), s3fs.S3FileSystem._call_s3

    async def calling(fs, method, *arguments, **given):
        asked[method] += given.get("Key", ".png").endswith(".png")
        return await call(fs, method, *arguments, **given)

    shop.night("first")
    monkeypatch.setattr(s3fs.S3FileSystem, "_call_s3", calling)
    assert check_catalogue(shop.config).modalities["image"].usable == len(THERE) - 1
    assert (asked["head_object"], asked["get_object"]) == (0, 0)
