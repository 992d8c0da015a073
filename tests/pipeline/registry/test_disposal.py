"""Versions of both registered models, and the aliases that keep them."""

import pytest
from mlflow import MlflowClient

from pipeline.registry.disposal import aliases, registered_versions, remove_version
from tests.pipeline.release_factory import make_config


@pytest.fixture
def tracking(tmp_path):
    """One version of the ranker and two of the model for new items, the second of them champion."""
    tracking = make_config(tmp_path).open_tracking()
    client = MlflowClient(tracking.uri, tracking.uri)
    for name, count in ((tracking.model_name, 1), (tracking.embedder_name, 2)):
        client.create_registered_model(name)
        for _ in range(count):
            client.create_model_version(name, source="s3://nowhere/model", tags={"microrec.run_id": "r1"})
    client.set_registered_model_alias(tracking.embedder_name, "champion", "2")
    return tracking


def test_registered_versions_are_of_both_models(tracking):
    found = [(one.model_name, one.version) for one in registered_versions(tracking)]
    assert sorted(found) == [("microrec", "1"), ("microrec-embed", "1"), ("microrec-embed", "2")]


def test_aliases_of_one_model_say_nothing_of_the_other(tracking):
    assert aliases(tracking) == {("microrec-embed", "2"): "champion"}


def test_remove_version_leaves_the_same_number_of_the_other_model(tracking):
    first = next(
        one for one in registered_versions(tracking) if (one.model_name, one.version) == ("microrec-embed", "1")
    )
    remove_version(tracking, first)
    left = [(one.model_name, one.version) for one in registered_versions(tracking)]
    assert sorted(left) == [("microrec", "1"), ("microrec-embed", "2")]
