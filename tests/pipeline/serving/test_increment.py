"""What is new since the champion's release, embedded between two nights, by a tiny run."""

import dataclasses
import shutil
import threading

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest

from pipeline import stages
from pipeline.errors import DamagedError, InputError, MicrorecError, NotExtractedError
from pipeline.opening import open_run
from pipeline.registry.audit import audit_release, verify_named_release
from pipeline.release import increment as release_increment
from pipeline.release.format import FOOTER_DIGEST, read_table
from pipeline.release.increment import SIGNED, find_increment, last_number, require_sound
from pipeline.release.manifest import read_manifest
from pipeline.release.signature import read_public_keys, require_signed, sign
from pipeline.run import run_stage
from pipeline.serving import increment, load_champion
from pipeline.serving.embed import embed_items
from pipeline.serving.increment import add_increment
from pipeline.stages.export import export
from pipeline.stages.order import do_stage
from pipeline.storage.arrow import vectors_of
from pipeline.storage.files import list_files, local_path, read_json, resolve, write_json
from tests.pipeline.release.test_signature import write_pair
from tests.pipeline.release_factory import blank_database, quiet
from tests.pipeline.tiny import FEATURES, make_tiny, write_vectors


def crown(store, run_id):
    digest = read_manifest(store.release(run_id)).release_digest
    record = {"run_id": run_id, "digest": digest, "model_name": "m", "model_version": "1", "previous": None}
    write_json(store.champion, record)


def make_release(config, run_id):
    run = open_run(config, run_id, quiet())
    for stage in (stages.PREPARE, stages.TRAIN, stages.EVALUATE):
        do_stage(run, stage)
    run_stage(run, stages.EXPORT, export)


def make_shop(folder, **options):
    config = make_tiny(folder, **options)
    make_release(config, "r1")
    crown(config.open_store(), "r1")
    local_path(config.open_store().root / "mlflow.db").write_bytes(blank_database())
    return config


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_shop(tmp_path_factory.mktemp("shop"))


class Shop:
    """A shop whose champion is `r1`, and its catalogue, which changes."""

    def __init__(self, config):
        self.config, self.store, self.base = config, config.open_store(), config.base
        self.release = self.store.release("r1")

    def add(self, ids, seed=1, without=()):
        """Put items into the catalogue, with vectors but for those `without`."""
        items = pl.read_parquet(self.base / "items.parquet")
        more = pl.DataFrame({"item_id": ids, "title": [f"New {one}" for one in ids]}, schema=items.schema)
        pl.concat([items, more]).write_parquet(self.base / "items.parquet")
        self.give([one for one in ids if one not in without], seed)

    def give(self, ids, seed):
        """Give items vectors of content, in the place of those that they have."""
        known = pl.read_parquet(self.base / "text.parquet").filter(~pl.col("item_id").is_in(ids))
        rows = np.random.default_rng(seed).normal(size=(len(ids), FEATURES))
        write_vectors(
            self.base / "text.parquet", [*known["item_id"], *ids], np.vstack([known["vector"].to_numpy(), rows])
        )

    def withdraw(self, ids):
        items = pl.read_parquet(self.base / "items.parquet")
        items.filter(~pl.col("item_id").is_in(ids)).write_parquet(self.base / "items.parquet")

    def new_ids(self, count):
        integer = isinstance(pl.read_parquet(self.base / "items.parquet")["item_id"][0], int)
        return [1000 + row if integer else f"new-{row}" for row in range(count)]

    def increment(self):
        return add_increment(self.config, quiet())

    @property
    def found(self):
        return find_increment(self.store.increments_of("r1"), read_manifest(self.release).release_digest)

    @property
    def ids(self):
        return self.found.table.column("item_id").to_pylist()


@pytest.fixture
def shop(made, tmp_path):
    """A copy, to change."""
    shutil.copytree(made.base, tmp_path / "shop")
    return Shop(dataclasses.replace(made, base=tmp_path / "shop"))


def test_add_increment_publishes_the_new_items_with_the_vectors_that_embed_gives(shop, tmp_path):
    a, b, c = ids = shop.new_ids(3)
    shop.add([c, a, b], without=[b])
    told = shop.increment()
    assert (told.run_id, told.number, told.changed, told.items, told.added, told.left_out, told.left_out_items) == (
        "r1", 1, True, 2, 2, 1, [b],
    )  # fmt: skip
    assert told.increment == str(shop.store.root / "increments/r1/00001")
    assert shop.ids == [a, c]
    pl.DataFrame({"item_id": ids}).write_parquet(tmp_path / "asked.parquet")
    embed_items(shop.config, str(tmp_path / "asked.parquet"), str(tmp_path / "out"), "r1", quiet())
    embedded = pq.read_table(tmp_path / "out/item_embeddings/part-00000.parquet")
    assert embedded.schema.equals(shop.found.table.schema)
    for column in ("embedding", "content_embedding"):
        expected = vectors_of(embedded, column)[[0, 2]]
        np.testing.assert_allclose(vectors_of(shop.found.table, column), expected, rtol=1e-5, atol=1e-6)
    assert shop.found.table.column("source").to_pylist() == ["content", "content"]


def test_add_increment_has_the_releases_schema_and_names_it_in_its_footer(shop):
    shop.add(shop.new_ids(2))
    shop.increment()
    part = pq.read_table(local_path(shop.found.folder / "item_embeddings/part-00000.parquet"))
    assert part.schema.equals(read_table(shop.release, "item_embeddings").schema)
    assert part.schema.metadata[FOOTER_DIGEST].decode() == read_manifest(shop.release).release_digest


def test_add_increment_where_nothing_is_new_writes_nothing(shop):
    before = set(list_files(shop.store.root))
    told = shop.increment()
    assert (told.changed, told.increment, told.number, told.items) == (False, None, None, 0)
    shop.add(shop.new_ids(1), without=shop.new_ids(1))  # nothing can be said of it
    told = shop.increment()
    assert (told.changed, told.increment, told.left_out) == (False, None, 1)
    assert set(list_files(shop.store.root)) - before == {"runs/r1/opened"} - before


def test_add_increment_again_does_nothing_until_something_is_new(shop):
    a, b = shop.new_ids(2)
    shop.add([a])
    shop.increment()
    files = list_files(shop.store.increments)
    again = shop.increment()
    assert (again.changed, again.number, again.items, again.added) == (False, 1, 1, 0)
    assert list_files(shop.store.increments) == files
    shop.add([b])
    more = shop.increment()
    assert (more.changed, more.number, more.items, more.added, more.removed) == (True, 2, 2, 1, 0)
    assert shop.ids == [a, b]


def test_add_increment_new_item_changed_withdrawn_or_given_content_is_so_in_the_next(shop):
    a, b, c = shop.new_ids(3)
    shop.add([a, b, c], without=[c])
    shop.increment()
    first = vectors_of(shop.found.table, "embedding")
    shop.give([a, c], seed=9)
    shop.withdraw([b])
    told = shop.increment()
    assert (told.number, told.items, told.added, told.removed, told.left_out) == (2, 2, 1, 1, 0)
    assert shop.ids == [a, c]
    assert np.abs(vectors_of(shop.found.table, "embedding")[0] - first[0]).max() > 1e-3
    shop.withdraw([a, c])
    told = shop.increment()
    assert (told.number, told.items, told.removed, shop.ids) == (3, 0, 2, [])


def test_add_increment_items_of_the_release_stay_as_they_are_until_the_night(shop):
    known = read_table(shop.release, "item_embeddings").column("item_id").to_pylist()
    shop.give([known[0]], seed=9)  # another content
    shop.withdraw([known[1]])
    assert not shop.increment().changed


def test_add_increment_without_a_champion_or_its_run_is_refused(shop):
    shutil.rmtree(local_path(shop.store.run("r1")))
    with pytest.raises(InputError, match=r"run r1 is no longer in .*: its parameters are needed"):
        shop.increment()
    local_path(shop.store.champion).unlink()
    with pytest.raises(InputError, match=r"there is no champion .*promote a version first"):
        shop.increment()


def test_add_increment_integer_ids_stay_integers_and_those_of_another_type_are_not_all_new(tmp_path):
    shop = Shop(make_shop(tmp_path, integer_ids=True))
    shop.add([1001, 1000])
    assert shop.increment().number == 1
    assert shop.ids == [1000, 1001]
    assert shop.found.table.schema.equals(read_table(shop.release, "item_embeddings").schema)
    items = pl.read_parquet(shop.base / "items.parquet")
    items.with_columns(pl.col("item_id").cast(pl.String)).write_parquet(shop.base / "items.parquet")
    with pytest.raises(InputError, match="the catalogue's item_id is String, that of release r1 is Int64"):
        shop.increment()


def test_add_increment_champion_that_moves_in_the_middle_gets_the_increment(shop, monkeypatch):
    shutil.copytree(local_path(shop.store.run("r1")), local_path(shop.store.run("r2")))
    shutil.rmtree(local_path(shop.store.run("r2") / "export"))
    (local_path(shop.store.run("r2")) / "predecessor.json").unlink()
    run_stage(open_run(shop.config, "r2", quiet()), stages.EXPORT, export)
    shop.add(shop.new_ids(1))
    extracted = increment.extract_features

    def moved(*args, **options):
        crown(shop.store, "r2")
        return extracted(*args, **options)

    monkeypatch.setattr(increment, "extract_features", moved)
    told = shop.increment()
    assert (told.run_id, told.number, told.changed) == ("r2", 1, True)
    assert last_number(shop.store.increments_of("r1")) == 0


@pytest.mark.parametrize("same", [True, False], ids=["the same catalogue", "another"])
def test_add_increment_overtaken_by_another_leaves_it_or_comes_after_it(shop, monkeypatch, same):
    a, b = shop.new_ids(2)
    shop.add([a])
    published = increment.publish_increment

    def overtaken(*args):
        monkeypatch.setattr(increment, "publish_increment", published)
        assert shop.increment().changed
        if not same:
            shop.add([b])
        return published(*args)

    monkeypatch.setattr(increment, "publish_increment", overtaken)
    told = shop.increment()
    assert (told.changed, told.number) == ((False, 1) if same else (True, 2))
    assert shop.ids == ([a] if same else [a, b])


def test_add_increment_overtaken_while_it_encodes_leaves_what_the_other_published(shop, monkeypatch):
    shop.add(shop.new_ids(1))
    encode = increment._Attempt._table

    def overtaken(*args):
        monkeypatch.setattr(increment._Attempt, "_table", encode)
        assert shop.increment().changed
        return encode(*args)

    monkeypatch.setattr(increment._Attempt, "_table", overtaken)
    told = shop.increment()
    assert (told.changed, told.number) == (False, 1)


def test_add_increment_two_at_once_give_one(shop):
    shop.add(shop.new_ids(2))
    told = []
    threads = [threading.Thread(target=lambda: told.append(shop.increment())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(one.changed for one in told) == [False, True]
    assert {one.number for one in told} == {1}


def test_add_increment_killed_before_the_last_step_is_not_seen_and_done_again(shop, monkeypatch):
    shop.add(shop.new_ids(2))
    with monkeypatch.context() as patched:

        def die(*_):
            raise KeyboardInterrupt

        patched.setattr(release_increment, "publish_folder", die)
        with pytest.raises(KeyboardInterrupt):
            shop.increment()
    assert shop.found is None
    remains = local_path(shop.store.increments_of("r1") / "00001/item_embeddings")  # of a copy that was cut short
    remains.mkdir(parents=True)
    (remains / "part-00000.parquet").write_bytes(b"half")
    assert shop.found is None
    assert load_champion(str(shop.store.root), shop.base / "cache").increment is None
    assert shop.increment().number == 1
    assert shop.ids == shop.new_ids(2)


def test_add_increment_attempt_under_way_is_found_by_no_pattern(shop, monkeypatch):
    shop.add(shop.new_ids(1))
    publish, seen = release_increment.publish_folder, []

    def look(local, folder):
        assert list(local.rglob("*.parquet"))
        parts = local_path(shop.store.increments).glob("r1/*/item_embeddings/*.parquet")  # dots and all
        seen.extend(parts)
        return publish(local, folder)

    monkeypatch.setattr(release_increment, "publish_folder", look)
    assert shop.increment().changed
    assert seen == []


def test_add_increment_catalogue_that_changes_while_it_is_read_may_be_tried_again(shop, monkeypatch):
    def gone(*_):
        raise NotExtractedError("modality text: the content of 1 items was never extracted")

    shop.add(shop.new_ids(1))
    monkeypatch.setattr("pipeline.serving.content_model.ContentModel.features", gone)
    with pytest.raises(MicrorecError, match="the catalogue changed while it was read") as failed:
        shop.increment()
    assert failed.value.exit_status == 1


@pytest.mark.parametrize("file", ["item_embeddings/part-00000.parquet", "increment.json"])
def test_verify_damaged_increment_is_named_with_its_mend(shop, file):
    shop.add(shop.new_ids(2))
    shop.increment()
    place = local_path(shop.found.folder / file)
    payload = bytearray(place.read_bytes())
    payload[len(payload) // 2] ^= 1
    place.write_bytes(payload)
    checked = verify_named_release(shop.store, "r1")
    with pytest.raises(
        DamagedError, match=r"00001.*`microrec increment` publishes another, if the release is the champion"
    ):
        audit_release(shop.store, shop.config.open_tracking(), checked)


@pytest.mark.parametrize("file", ["item_embeddings/part-00000.parquet", "increment.json"])
def test_add_increment_whose_last_is_damaged_publishes_another_though_nothing_is_new(shop, file):
    shop.add(shop.new_ids(2))
    shop.increment()
    place = local_path(shop.found.folder / file)
    place.write_bytes(place.read_bytes()[:-20])
    assert load_champion(str(shop.store.root), shop.base / "cache").increment is None
    told = shop.increment()
    assert (told.number, told.changed, told.items, told.added, told.removed) == (2, True, 2, 2, 0)
    assert shop.ids == shop.new_ids(2)
    require_sound(shop.found, shop.release)
    assert load_champion(str(shop.store.root), shop.base / "cache").increment == 2
    assert not shop.increment().changed


def test_add_increment_whose_last_is_damaged_publishes_one_of_nothing_where_all_was_withdrawn(shop):
    shop.add(shop.new_ids(1))
    shop.increment()
    local_path(shop.found.folder / "increment.json").unlink()
    shop.withdraw(shop.new_ids(1))
    assert (shop.increment().number, shop.ids) == (2, [])


def test_increment_is_signed_where_releases_are_and_verify_asks_for_it(shop):
    private, public = write_pair(shop.base, "ours")
    keys, export = read_public_keys([public]), dataclasses.replace(shop.config.export, signing_key=str(private))
    shop.add(shop.new_ids(1))
    add_increment(dataclasses.replace(shop.config, export=export), quiet())
    require_signed(shop.found.folder, keys, SIGNED)
    checked = verify_named_release(shop.store, "r1")
    shop.store.champion.unlink()  # no registry has it
    audit_release(shop.store, shop.config.open_tracking(), checked, keys)
    (shop.found.folder / SIGNED.signature).unlink()
    with pytest.raises(DamagedError, match=r"00001 is not signed: it has no increment\.sig"):
        audit_release(shop.store, shop.config.open_tracking(), checked, keys)


def test_add_increment_publishes_anew_what_was_not_signed_by_its_key(shop):
    private, public = write_pair(shop.base, "ours")
    signing = dataclasses.replace(shop.config.export, signing_key=str(private))
    shop.add(shop.new_ids(1))
    shop.increment()
    told = add_increment(dataclasses.replace(shop.config, export=signing), quiet())
    assert (told.number, told.changed, told.items, told.added) == (2, True, 1, 1)
    require_signed(shop.found.folder, read_public_keys([public]), SIGNED)
    assert not add_increment(dataclasses.replace(shop.config, export=signing), quiet()).changed


def test_add_increment_by_two_keys_that_are_both_trusted_publishes_once(shop):
    pairs = [write_pair(shop.base, name) for name in ("ours", "theirs")]
    public = tuple(str(public) for _, public in pairs)
    shop.add(shop.new_ids(1))
    published = []
    for private, _ in [*pairs, *pairs]:
        export = dataclasses.replace(shop.config.export, signing_key=str(private), public_keys=public)
        published.append(add_increment(dataclasses.replace(shop.config, export=export), quiet()).changed)
    assert published == [True, False, False, False]


def test_increment_exchanged_before_it_is_signed_is_not_published(shop, monkeypatch):
    private, _ = write_pair(shop.base, "ours")

    def exchanged(folder, key, kind):
        write_json(folder / "increment.json", {**read_json(folder / "increment.json"), "left_out": 7})
        sign(folder, key, kind)

    monkeypatch.setattr(release_increment, "sign", exchanged)
    export = dataclasses.replace(shop.config.export, signing_key=str(private))
    shop.add(shop.new_ids(1))
    with pytest.raises(DamagedError, match=r"increment\.sig is not a signature of this increment\.json"):
        add_increment(dataclasses.replace(shop.config, export=export), quiet())
    assert last_number(shop.store.increments_of("r1")) == 0


def test_increment_table_of_another_file_in_its_place_is_damaged(shop):
    shop.add(shop.new_ids(2))
    shop.increment()
    place = local_path(shop.found.folder / "item_embeddings/part-00000.parquet")
    pq.write_table(pq.read_table(place).slice(1), place)
    with pytest.raises(DamagedError, match=r"part-00000\.parquet is damaged: increment\.json has another sha256"):
        _ = shop.found.table


def test_verify_increment_that_names_the_releases_items_is_refused(shop):
    shop.add(shop.new_ids(1))
    shop.increment()
    require_sound(shop.found, shop.release)
    make_release(shop.config, "r3")  # which has the new item itself
    with pytest.raises(DamagedError, match="item_id names items that the release has"):
        require_sound(shop.found, shop.store.release("r3"))


def test_find_increment_of_another_release_that_had_the_id_counts_as_none(shop):
    shop.add(shop.new_ids(1))
    shop.increment()
    assert find_increment(shop.store.increments_of("r1"), "another digest") is None


def test_find_increment_tenth_comes_after_the_ninth(tmp_path):
    folder = resolve(str(tmp_path), tmp_path)
    for name in ("00009", "00010", "00011", "100000", ".00012.x", "notes"):
        (tmp_path / name).mkdir()
        if name != "00011":
            (tmp_path / name / "_SUCCESS").touch()
    assert last_number(folder) == 100_000
    shutil.rmtree(tmp_path / "100000")
    assert last_number(folder) == 10


def test_night_after_an_increment_has_its_items_and_encodes_nothing_again(shop):
    shop.add(shop.new_ids(2))
    shop.increment()
    make_release(shop.config, "r2")
    crown(shop.store, "r2")
    there = read_table(shop.store.release("r2"), "item_embeddings").column("item_id").to_pylist()
    assert set(shop.new_ids(2)) <= set(there)
    told = shop.increment()
    assert (told.run_id, told.changed, told.increment) == ("r2", False, None)


def test_load_champion_answers_with_the_items_of_the_increment_and_the_others_as_before(shop):
    cache, asked = shop.base / "cache", {"user_id": ["user-1"]}
    plain = load_champion(str(shop.store.root), cache)
    known = read_table(shop.release, "item_embeddings").column("item_id")[0].as_py()
    history = [{"history": [known]}]
    before, folded = plain.predict(asked, {"k": 100}), plain.predict(history, {"k": 100})
    new = shop.new_ids(2)
    shop.add(new)
    shop.increment()
    loaded = load_champion(str(shop.store.root), cache)
    assert (plain.increment, loaded.increment) == (None, 1)
    for answered, then in ((asked, before), (history, folded)):
        after = loaded.predict(answered, {"k": 100})
        assert set(after["item_id"]) == {*then["item_id"], *new}
        known = after[~after["item_id"].isin(new)]
        assert known["item_id"].tolist() == then["item_id"].tolist()
        np.testing.assert_array_equal(known["score"], then["score"])
    similar = loaded.predict({"item_id": [new[0]]}, {"mode": "similar", "k": 3})
    assert len(similar) == 3
    assert new[0] not in set(plain.predict(asked, {"k": 100})["item_id"])


def test_load_champion_keeps_the_last_two_increments_in_its_cache(shop):
    cache = shop.base / "cache"
    loaded = []
    for number in range(4):
        shop.add([shop.new_ids(4)[number]], seed=number)
        shop.increment()
        loaded.append(load_champion(str(shop.store.root), cache))
    kept = {one.increment: one.folder.exists() for one in loaded}
    assert kept == {1: False, 2: False, 3: True, 4: True}
    assert len(loaded[0].predict({"user_id": ["user-1"]})) > 0  # what is mapped stays


def test_add_increment_in_an_object_store(shop, tmp_path, s3_bucket, monkeypatch):
    root = resolve(f"s3://{s3_bucket}/store", tmp_path)
    for name in list_files(shop.store.root):
        (root / name).write_bytes((shop.store.root / name).read_bytes())
    config = dataclasses.replace(shop.config, store=dataclasses.replace(shop.config.store, root=str(root)))
    there = Shop(config)
    there.add(there.new_ids(2))

    def die(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("pipeline.storage.object_store._put_in_place", die)
        with pytest.raises(KeyboardInterrupt):
            there.increment()
    assert there.found is None
    told = there.increment()  # finishes what the dead attempt began
    assert (told.number, told.increment) == (1, f"{root}/increments/r1/00001")
    assert there.ids == there.new_ids(2)
    assert not there.increment().changed
    assert load_champion(str(root), tmp_path / "cache").increment == 1
    assert read_json(there.found.folder / "increment.json")["items"] == 2
    root.fs.rm(root.path, recursive=True)
