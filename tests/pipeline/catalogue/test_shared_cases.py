"""The small inputs of `shared/cases`, where they are: what becomes of each. The same kinds, made anew, stand beside."""

import os
import shutil
from pathlib import Path

import pytest

from pipeline.config.config import load_config
from pipeline.documents import as_document
from pipeline.errors import InputError
from pipeline.stages.validate import check_catalogue

CASES = Path(os.environ.get("MICROREC_CASES", Path(__file__).parents[4].parent / "shared/cases"))
pytestmark = pytest.mark.skipif(not CASES.exists(), reason="the cases are not here")
REFUSED = {
    "csv_spark_escape2": r"items\.csv, line 2: a quote",
    "gz_cut_csv": r"inter\.csv\.gz is damaged .*fetch it again",
    "pq_delta": r"inter is a table of Delta: .*export its present rows",
    "pq_image_bytes": r"items\.parquet, column image_path: values are Binary",
    "ts_us_months": r"inter\.csv, column timestamp: '01/01/2023' is not a moment with the year first",
}
READ = {
    "az_json_true": (6, 16, ""),
    "csv_empty_part": (6, 16, ""),
    "csv_inner_quote": (6, 16, ""),
    "csv_nan_ids": (6, 16, "column user_id holds 'nan' in 2 rows, 'NULL' in 2 rows, 'None' in 2 rows"),
    "glob_temporary": (6, 8, ""),
    "jl_nan": (6, 16, ""),
    "jl_nested_lists": (6, 16, ""),
    "long_text": (6, 16, "text: 6 texts are longer than the 256 word pieces"),
    "parts_unused_conflict": (6, 16, ""),
    "precomputed_zero": (40, 110, "image: 10 vectors are all zero"),
}
"""Items, rows of interactions, and what a warning says."""


def report_of(name, folder):
    shutil.copytree(CASES / name, folder / name)
    return as_document(check_catalogue(load_config(folder / name / "microrec.toml")))


@pytest.mark.parametrize("name", REFUSED)
def test_case_that_cannot_be_read_is_refused(tmp_path, name):
    with pytest.raises(InputError, match=REFUSED[name]):
        report_of(name, tmp_path)


@pytest.mark.parametrize("name", READ)
def test_case_that_can_be_read_is_read_rightly(tmp_path, name):
    items, rows, warning = READ[name]
    report = report_of(name, tmp_path)
    assert (report["items"]["kept"], report["interactions"]["rows"]) == (items, rows)
    assert warning in "\n".join(report["warnings"])
