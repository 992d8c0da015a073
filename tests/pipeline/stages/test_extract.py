import dataclasses
from functools import partial

import numpy as np
import polars as pl
import pytest
from rich.console import Console
from upath import UPath

import pipeline.stages.extract
import pipeline.stages.extract_texts
from features.encoder import Encoder, EncoderSpec
from features.errors import FeatureError
from features.openvino_backend import NotConvertedError
from pipeline.catalogue.cleaning import clean_items
from pipeline.catalogue.pictures import Pictures
from pipeline.config.config import compose
from pipeline.dataset.features import load_features
from pipeline.errors import InputError
from pipeline.progress import Reporter
from pipeline.run import Run
from pipeline.sample import write_sample
from pipeline.stages.encoding import Limits
from pipeline.stages.extract import extract_features


class KilledError(Exception):
    """Stands for the end of the process between two batches."""


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sample")
    write_sample(folder, num_items=60, num_users=20, seed=3)
    return folder


def extract(run, modality=None, shard=(0, 1), **limits):
    """What became of each modality; small groups, so that there are several."""
    return extract_features(run, modality, shard, Limits(batches_per_group=2, **limits)).modalities


@pytest.fixture
def make_run(sample, tmp_path):
    """Runs over the sample with the real text encoder in small batches, each with a store of its own."""

    def make(name, items="items.parquet", **modalities):
        text = {"encoder": "all-minilm-l6-v2", "columns": ["title", "description"], "batch_size": 4, "device": "cpu"}
        document = {
            "catalogue": {"items": items, "interactions": ["interactions.parquet"]},
            "modalities": modalities or {"text": text},
            "store": {"root": str(tmp_path / name)},
        }
        config = compose(document, base=sample)
        return Run("x", config, config.open_store(), Reporter(Console(quiet=True)))

    return make


def features_of(run):
    return load(run)["text"]


def load(run):
    catalogue = run.config.open_catalogue()
    return load_features(catalogue, run.config.modalities, run.store, clean_items(catalogue))


def count_loads(monkeypatch):
    loads = []
    original = EncoderSpec.__getattribute__

    def watched(spec, name):
        if name == "load":
            loads.append(spec.name)
        return original(spec, name)

    monkeypatch.setattr(EncoderSpec, "__getattribute__", watched)
    return loads


def test_extract_again_loads_no_encoder(make_run, monkeypatch):
    run = make_run("store")
    first = extract(run)["text"]
    assert first.encoded == first.contents > 0
    loads = count_loads(monkeypatch)
    again = extract(run)["text"]
    assert (again.encoded, again.encoder_calls, again.cached) == (0, 0, first.contents)
    assert loads == []


def test_extract_ten_changed_items_encode_ten(make_run, sample):
    run = make_run("store")
    extract(run)
    items = pl.read_parquet(sample / "items.parquet")
    has_title = pl.col("title").is_not_null()
    changed = items.with_row_index().with_columns(
        pl.when(has_title & (has_title.cum_sum() <= 10))
        .then(pl.col("title") + " new")
        .otherwise("title")
        .alias("title")
    )
    changed.drop("index").write_parquet(sample / "changed.parquet")
    assert extract(make_run("store", items="changed.parquet"))["text"].encoded == 10


def test_extract_interrupted_anywhere_gives_the_same_bits(make_run, monkeypatch):
    whole = make_run("whole")
    extract(whole)
    expected = features_of(whole)
    original = Encoder.encode
    for survived in (1, 3, 6):
        run = make_run(f"killed-{survived}")
        calls = []

        def dying(encoder, prepared, calls=calls, survived=survived):
            calls.append(1)
            if len(calls) > survived:
                raise KilledError
            return original(encoder, prepared)

        monkeypatch.setattr(Encoder, "encode", dying)
        with pytest.raises(KilledError):
            extract(run)
        monkeypatch.setattr(Encoder, "encode", original)
        extract(run)
        np.testing.assert_array_equal(features_of(run).matrix, expected.matrix)
        assert part_names(run) == part_names(whole)


def part_names(run):
    return sorted(path.name for path in run.store.root.glob("features/*/*/part-*.parquet"))


def test_extract_shards_together_give_the_same_parts(make_run):
    whole, sharded = make_run("whole"), make_run("sharded")
    total = extract(whole)["text"].encoded
    counts = [extract(sharded, "text", (index, 3))["text"].encoded for index in (2, 0, 1)]
    assert sum(counts) == total
    assert min(counts) > 0
    assert part_names(sharded) == part_names(whole)
    np.testing.assert_array_equal(features_of(sharded).matrix, features_of(whole).matrix)


@pytest.mark.parametrize("groups", [1, 2])
def test_extract_texts_sorted_through_files_give_the_same_parts(make_run, groups):
    whole, windowed = make_run("whole"), make_run("windowed")
    extract(whole)
    extract(windowed, texts_at_once=groups)
    assert part_names(windowed) == part_names(whole)
    np.testing.assert_array_equal(features_of(windowed).matrix, features_of(whole).matrix)


def test_extract_pictures_prepared_in_processes_give_the_same_parts(make_run, monkeypatch):
    image = {"encoder": "efficientnet-lite0", "batch_size": 4, "device": "cpu"}
    plain, other = (make_run(name, image=image) for name in ("plain", "other"))
    extract(plain)
    find = pipeline.stages.extract.find_encoders

    def beside_a_gpu(name, modality):
        return [dataclasses.replace(spec, load=partial(load, spec)) for spec in find(name, modality)]

    def load(spec):
        encoder = spec.load()
        encoder.device = "cuda"  # by its name alone
        return encoder

    monkeypatch.setattr(pipeline.stages.extract, "find_encoders", beside_a_gpu)
    summary = extract(other, many_pictures=1)["image"]
    assert summary.encoded > 0
    assert summary.unreadable > 0
    parts, others = (
        {part.name: part.read_bytes() for part in run.store.root.glob("features/*/*/part-*.parquet")}
        for run in (plain, other)
    )
    assert parts == others


def test_shards_share_the_bytes_evenly():
    num_bytes = pl.Series([1] * 90 + [10] * 9 + [90])
    shards = pipeline.stages.extract_texts._shards(num_bytes, 3)
    assert [int(num_bytes.filter(shards == shard).sum()) for shard in range(3)] == [90, 90, 90]


def test_extract_store_with_vectors_by_torch_goes_on_with_torch(make_run, monkeypatch):
    text = {"encoder": "all-minilm-l6-v2", "columns": ["title"], "device": "cpu"}
    before = extract(make_run("store", text=text | {"backend": "torch"}))["text"]
    loads = count_loads(monkeypatch)
    again = extract(make_run("store", text=text))["text"]
    assert (again.encoder, again.encoded, loads) == (before.encoder, 0, [])
    assert features_of(make_run("store", text=text)).encoder_key == before.encoder
    assert extract(make_run("new", text=text))["text"].encoder.startswith("all-minilm-l6-v2-openvino-")


def test_extract_encoder_that_openvino_cannot_convert_is_run_by_torch(make_run, monkeypatch):
    def refuse(*_):
        raise NotConvertedError("OpenVINO cannot convert it (why)")

    monkeypatch.setattr("features.text_encoders._by_openvino", refuse)
    text = {"encoder": "all-minilm-l6-v2", "columns": ["title"], "device": "cpu"}
    run = make_run("store", text=text)
    assert extract(run)["text"].encoder == features_of(run).encoder_key == "all-minilm-l6-v2-32b42210d643"
    with pytest.raises(FeatureError, match=r"modalities\.text: all-minilm-l6-v2: .*\(why\); use backend = 'torch'"):
        extract(make_run("other", text=text | {"backend": "openvino"}))


def test_load_features_never_extracted_says_so(make_run):
    with pytest.raises(InputError, match=r"text: the content of \d+ items was never extracted.*microrec extract"):
        features_of(make_run("empty"))


def test_load_features_item_without_text_is_absent(make_run):
    run = make_run("store")
    extract(run)
    loaded = features_of(run)
    items = clean_items(run.config.open_catalogue())
    has_text = items.select((pl.col("title").is_not_null() | pl.col("description").is_not_null()).alias("has"))["has"]
    np.testing.assert_array_equal(loaded.present, has_text.to_numpy())
    np.testing.assert_array_equal(np.linalg.norm(loaded.matrix, axis=1) > 0, has_text.to_numpy())


def test_extract_pictures_broken_and_missing_ones_are_counted_and_named(make_run, sample):
    run = make_run("pictures", image={"encoder": "efficientnet-lite0", "batch_size": 16, "device": "cpu"})
    summary = extract(run)["image"]
    items = clean_items(run.config.open_catalogue())
    assert summary.missing == items["image_path"].null_count()
    assert summary.not_found == sum(not (sample / path).exists() for path in items["image_path"].drop_nulls())
    assert summary.not_found > 0
    assert summary.unreadable == len(summary.unreadable_items) == 1
    loaded = load(run)["image"]
    lacking = summary.missing + summary.not_found + summary.unreadable
    assert loaded.present.sum() == len(items) - lacking


@pytest.mark.parametrize(
    "location",
    [
        "data:image/png;base64,AAAA",
        "s3:/oops",
        "s3://",
        "s3:///",
        "http:/x/y.jpg",
        "https://x/y.jpg",
        "memory:/a",
        "S3://b/x.jpg",
        "\0",
    ],
)
def test_picture_path_of_what_no_store_holds_counts_as_absent(tmp_path, location):
    with pytest.raises(FileNotFoundError, match="neither a file nor s3://"):
        Pictures(UPath(tmp_path)).path(location)


@pytest.mark.parametrize("location", ["a.jpg", "c:/a.jpg", "C:\\a.jpg", "b/../a.jpg", "s3://bucket/a.jpg", "/a.jpg"])
def test_picture_path_of_a_file_or_an_object(tmp_path, location):
    assert str(Pictures(UPath(tmp_path), outside=True).path(location)).endswith("a.jpg")


def test_extract_precomputed_vectors_make_a_modality_of_any_name(make_run, sample):
    items = clean_items(make_run("any").config.open_catalogue())
    vectors = pl.DataFrame({"item_id": items["item_id"][::2], "vector": [[1.0, float(i)] for i in range(30)]})
    vectors.write_parquet(sample / "audio.parquet")
    run = make_run("audio", audio={"encoder": "precomputed", "vectors": "audio.parquet"})
    assert extract(run)["audio"].with_vector == 30
    loaded = load(run)["audio"]
    assert loaded.matrix.shape == (60, 2)
    np.testing.assert_array_equal(loaded.present, np.arange(60) % 2 == 0)


def test_extract_unknown_column_or_modality_is_named(make_run):
    text = {"encoder": "all-minilm-l6-v2", "columns": ["titel"]}
    with pytest.raises(InputError, match=r"no column 'titel', which .* is 'title'"):
        extract(make_run("a", text=text))
    with pytest.raises(InputError, match="configured are text"):
        extract(make_run("b"), "video")
