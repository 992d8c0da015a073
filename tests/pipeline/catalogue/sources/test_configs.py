"""The configurations of the published data sets, as they are shipped, on small files under the names they expect."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from pipeline.catalogue.cleaning import clean_interactions, clean_items
from pipeline.config.config import load_config
from pipeline.stages.validate import check_catalogue
from tests.commands import microrec
from tests.pipeline.catalogue.sources import files

CONFIGS = Path(__file__).parents[4] / "configs"
DATA_SETS = {
    "amazon-baby": (files.write_amazon_2014, "amazon-2014", "Baby"),
    "amazon-sports": (files.write_amazon_2014, "amazon-2014", "Sports_and_Outdoors"),
    "amazon-clothing": (files.write_amazon_2014, "amazon-2014", "Clothing_Shoes_and_Jewelry"),
    "amazon-2023-baby": (files.write_amazon_2023, "amazon-2023", "Baby_Products"),
    "mmrec-baby": (files.write_mmrec, "mmrec/baby", "baby"),
    "mmrec-sports": (files.write_mmrec, "mmrec/sports", "sports"),
    "mmrec-clothing": (files.write_mmrec, "mmrec/clothing", "clothing"),
}


def install(tmp_path, name):
    """Put the data set and its configuration where docs/how-to/datasets.md says; return the configuration's path."""
    write, folder, category = DATA_SETS[name]
    write(tmp_path / "data" / folder, category)
    (tmp_path / "configs").mkdir()
    return Path(shutil.copy(CONFIGS / f"{name}.toml", tmp_path / "configs"))


@pytest.mark.parametrize("name", DATA_SETS)
def test_validate_shipped_configuration_reads_the_data_set_whole(tmp_path, name):
    config = load_config(install(tmp_path, name))
    report = check_catalogue(config)
    rows = list(files.draw_interactions())
    assert report.items.kept == files.NUM_ITEMS
    assert report.users.kept == files.NUM_USERS
    assert report.interactions.kept == len(rows)
    in_mapping = name.startswith("mmrec")
    assert report.items.not_in_catalogue == (0 if in_mapping else 1)
    assert report.items.left_out == (0 if in_mapping else 10)
    assert report.interactions.unknown_items.count == 0
    warned = [line for line in report.warnings if line.startswith("items: 1 are named by interactions only")]
    assert len(warned) == (0 if in_mapping else 1)
    texts = report.modalities["text"]
    assert texts.usable == files.NUM_ITEMS - (0 if in_mapping else 1)
    if "image" in report.modalities:
        image = report.modalities["image"]
        missing = [] if in_mapping else [files.asin(files.WITHOUT_IMAGE)]
        assert (image.missing_items, image.of_unknown_items) == (missing, 0 if in_mapping else 1)


@pytest.mark.parametrize("name", ["amazon-2023-baby", "mmrec-baby"])
def test_clean_interactions_published_split_is_kept(tmp_path, name):
    config = load_config(install(tmp_path, name))
    parts = clean_interactions(config.open_catalogue(), clean_items(config.open_catalogue())).group_by("split").len()
    held_out = files.NUM_USERS
    assert dict(parts.iter_rows()) == {"train": 4 * held_out, "validation": held_out, "test": held_out}


@pytest.mark.integration
@pytest.mark.parametrize("name", ["amazon-baby", "amazon-2023-baby", "mmrec-baby"])
def test_run_shipped_configuration_ends_in_a_verified_release(tmp_path, name):
    config = install(tmp_path, name)
    quick = ["train.max_epochs=6", "train.check_every=2", "train.device=cpu", "model.embedding_dim=16"]
    settings = [part for setting in quick for part in ("--set", setting)]
    done = microrec("run", "--json", "-c", config, "--run-id", "first", *settings)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    checked = microrec("verify", "first", "-c", config)
    assert checked.returncode == 0, checked.stderr
    ids = pl.read_parquet(f"{result['release']}/item_embeddings/*.parquet")["item_id"].to_list()
    if name == "amazon-2023-baby":
        new = files.write_lines(
            tmp_path / "new.jsonl.gz", ['{"parent_asin": "NEW", "title": "Rattle", "features": []}']
        )
        embedded = microrec("embed", "-c", config, "--items", new, "--out", tmp_path / "embedded")
        assert embedded.returncode == 0, embedded.stderr
        assert pl.read_parquet(tmp_path / "embedded/item_embeddings/*.parquet")["item_id"].to_list() == ["NEW"]
    assert ids == [item if name.startswith("mmrec") else files.asin(item) for item in range(files.NUM_ITEMS)]


def test_datasets_page_lists_the_addresses_of_pictures_as_written(tmp_path):
    install(tmp_path, "amazon-2023-baby")
    page = (CONFIGS.parent / "docs/how-to/datasets.md").read_text()
    (code,) = re.findall(r'^python -c "\n(.*?)" > urls.txt$', page, re.MULTILINE | re.DOTALL)
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    addresses = done.stdout.splitlines()
    assert addresses
    assert all(address.startswith("http") for address in addresses)
