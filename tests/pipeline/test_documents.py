"""Records are the same when they come back from JSON."""

import dataclasses
import json
import types
import typing
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.dataset.records import Evaluation, Training, WarmStart
from pipeline.documents import as_document, as_record, flatten, spelled
from pipeline.errors import StoreError
from pipeline.run import StageResult
from pipeline.stages import results
from pipeline.storage.files import as_json

PLAIN = {
    str: st.text(max_size=5),
    bool: st.booleans(),
    int: st.integers(),
    float: st.floats(allow_nan=False),
    Any: st.text() | st.integers(),
}
RESULTS = sorted(
    (kind for kind in vars(results).values() if isinstance(kind, type) and issubclass(kind, StageResult)),
    key=lambda kind: kind.__name__,
)


def values(hint):
    """Any value of a field of this type."""
    if hint in PLAIN:
        return PLAIN[hint]
    if dataclasses.is_dataclass(hint):
        hints = typing.get_type_hints(hint)
        return st.builds(hint, **{field.name: values(hints[field.name]) for field in dataclasses.fields(hint)})
    kind, inner = typing.get_origin(hint), typing.get_args(hint)
    if kind is dict:
        return st.dictionaries(values(inner[0]), values(inner[1]), max_size=2)
    if kind is list:
        return st.lists(values(inner[0]), max_size=2)
    if kind is typing.Literal:
        return st.sampled_from(inner)
    if kind is tuple:
        return st.tuples(*map(values, inner))
    assert kind is types.UnionType, hint
    return st.one_of([st.none() if one is type(None) else values(one) for one in inner])


def test_results_of_all_stages_are_among_those_tested():
    stages = {stage.result for stage in vars(results).values() if isinstance(stage, results.Stage)}
    assert len(stages) == 7
    assert stages <= set(RESULTS)


@pytest.mark.parametrize("kind", RESULTS, ids=lambda kind: kind.__name__)
def test_as_record_inverts_as_document_through_json(kind):
    @settings(max_examples=40, deadline=None)
    @given(values(kind))
    def check(result):
        read = as_record(kind, json.loads(as_json(as_document(result))), "result.json")
        assert type(read) is kind
        assert read == result

    check()


TRAINING = {"epochs": 5, "best_epoch": 4, "modalities": ["text"], "device": "cpu", "threads": 1, "torch": "2.15.0"}


def test_as_record_unknown_fields_are_ignored_at_any_depth():
    warm = {"run_id": "r0", "colour": "red"}
    read = as_record(Training, {**TRAINING, "colour": "blue", "warm_start": warm}, "here")
    assert read == Training(**TRAINING, warm_start=WarmStart(run_id="r0"))


@pytest.mark.parametrize("name", ["metric", "recall@20"])
def test_as_record_warm_start_reads_the_metric_under_both_names(name):
    """Earlier versions wrote it as `recall@20`."""
    assert as_record(WarmStart, {"run_id": "r1", name: 0.4}, "here") == WarmStart(run_id="r1", metric=0.4)


def test_as_record_missing_fields_have_their_defaults():
    read = as_record(Training, TRAINING, "here")
    assert (read.processes, read.warm_start) == (1, None)
    assert as_record(Evaluation, {}, "here") == Evaluation()


def test_as_record_defaults_are_not_shared():
    as_record(Evaluation, {}, "here").slices["x"] = {}
    assert as_record(Evaluation, {}, "here").slices == {}


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ({key: value for key, value in TRAINING.items() if key != "epochs"}, r"\(epochs: Field required\)"),
        ({**TRAINING, "epochs": "many"}, r"\(epochs: .*integer"),
        ({**TRAINING, "epochs": 1.5}, r"\(epochs: .*integer"),
        ({**TRAINING, "device": None, "threads": None}, r"\(device: .*string; threads: .*integer\)"),
        ({**TRAINING, "modalities": ["text", 3]}, r"\(modalities\.1: .*string\)"),
        ({**TRAINING, "warm_start": {"metric": 0.5}}, r"\(warm_start\.run_id: Field required\)"),
        ([], r"\(: .*dictionary"),
        (None, r"\(: .*dictionary"),
    ],
)
def test_as_record_field_that_does_not_fit_is_named_with_the_place(document, problem):
    with pytest.raises(StoreError, match=rf"^here is damaged, or of a version that this one cannot read .*{problem}"):
        as_record(Training, document, "here")


def test_as_document_nested_records_are_plain_values():
    record = Training(**TRAINING, warm_start=WarmStart(run_id="r0", known_users=3))
    document = as_document(record)
    assert document["warm_start"]["known_users"] == 3
    assert type(document["warm_start"]) is dict
    document["modalities"].append("image")
    assert record.modalities == ["text"]


def test_as_document_what_is_plain_already_is_given_back():
    document = {"changed": True}
    assert as_document(document) is document


def test_spelled_text_is_itself_and_the_rest_json():
    assert [spelled(value) for value in ("é", True, None, ["é", 1], 0.5)] == ["é", "true", "null", '["é", 1]', "0.5"]


def test_flatten_joins_keys_and_leaves_empty_tables_out():
    document = {"a": {"b": {"c": 1}, "d": [{"e": 2}]}, "f": None, "empty": {}}
    assert flatten(document) == {"a.b.c": 1, "a.d": [{"e": 2}], "f": None}
