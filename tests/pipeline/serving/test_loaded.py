"""The registered model as MLflow loads and serves it: every way to ask, and what is refused."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from mlflow.models.utils import load_serving_example

from pipeline import stages
from pipeline.registry.answer import load
from pipeline.registry.promotion import promote
from pipeline.run import run_stage
from pipeline.stages.register import register
from pipeline.storage.files import local_path
from tests.pipeline.release_factory import give_increment, make_config, make_run, quiet
from tests.pipeline.serving.served import post, served


class Registered:
    """A champion in a registry of its own."""

    def __init__(self, folder, integer_ids):
        self.run = run = make_run(make_config(folder), "r1", integer_ids=integer_ids)
        self.tracking = run.config.open_tracking()
        version = run_stage(run, stages.REGISTER, register).model_version
        promote(run.store, self.tracking, run.config.gate, version, quiet())
        with self.tracking.files_of("@champion") as files:
            self.model = load(files)
        self.path = next(folder.glob("store/mlartifacts/models/*/artifacts"))
        self.users = [2**40 + row if integer_ids else f"user-{row}" for row in range(3)]
        self.items = [100 + row if integer_ids else f"item-{row}" for row in range(30)]

    def environment(self, folder):
        """Of a process beside it."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "TMPDIR": str(folder),
            "MLFLOW_TRACKING_URI": self.tracking.shown_uri,
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }

    def lists(self, data, **params):
        """Items by request."""
        answer = self.model.predict(data, params=params or None)
        return [answer["item_id"][answer["request"] == one].tolist() for one in sorted(set(answer["request"]))]


@pytest.fixture(scope="module", params=[False, True], ids=["text ids", "integer ids"])
def registered(request, tmp_path_factory):
    return Registered(tmp_path_factory.mktemp("registered"), request.param)


def test_model_every_spelling_of_the_same_users_has_the_same_answer(registered):
    users = registered.users
    expected = registered.lists(pd.DataFrame({"user_id": users}))
    assert len(expected) == 3
    for same in (
        {"user_id": users},
        {"user_id": np.array(users)},
        [{"user_id": user} for user in users],
        pd.DataFrame({"user_id": users}, index=[7, 7, 9]),
        pd.DataFrame({"user_id": [*users, None]}),
        pd.Series(users, name="user_id"),
    ):
        assert registered.lists(same)[:3] == expected
    assert registered.lists({"user_id": users[:1]}) == registered.lists({"user_id": users[0]}) == expected[:1]


def test_model_every_spelling_of_the_same_lists_has_the_same_answer(registered):
    users, items = registered.users[:2], registered.items
    histories, candidates = [items[:2], items[2:5]], [items[4:9], items[4:10]]
    frame = pd.DataFrame({"user_id": users, "history": histories, "candidates": candidates})
    expected = registered.lists(frame)
    assert [len(one) for one in expected] == [5, 5]  # the second history has one of its candidates
    assert registered.lists(frame.to_dict("list")) == expected
    assert registered.lists(frame.to_dict("records")) == expected
    alone = {"history": items[:2], "candidates": items[4:9]}
    assert registered.lists(pd.DataFrame([alone])) == registered.lists([alone])


def test_model_a_dictionary_with_a_list_for_one_user_is_one_question(registered):
    """MLflow makes a row of it where ids are texts, and refuses it where they are whole numbers."""
    row = {"user_id": "user-0", "exclude": ["item-3"]}
    assert registered.lists({"user_id": ["user-0"], "exclude": [["item-3"]]}) == registered.lists([row])
    assert registered.lists({"user_id": ["user-0"], "exclude": ["item-3"]}) == registered.lists([row])


def test_model_similar_and_score_by_a_dictionary_of_lists(registered):
    similar = registered.model.predict({"item_id": registered.items[:2]}, params={"mode": "similar", "k": 3})
    assert similar["asked_item_id"].tolist() == [one for one in registered.items[:2] for _ in range(3)]
    pairs = {"user_id": registered.users[:2], "item_id": registered.items[5:7]}
    assert registered.model.predict(pairs, params={"mode": "score"})["item_id"].tolist() == registered.items[5:7]


@pytest.mark.parametrize(
    ("columns", "params", "message"),
    [
        ({"usr_id": ["a"]}, {}, "there is no column 'usr_id'; did you mean 'user_id'?"),
        ({"user_id": ["a"], "exclud": [["b"]]}, {}, "there is no column 'exclud'; did you mean 'exclude'?"),
        ({"user_id": ["a"]}, {"exclude_sen": False}, "there is no parameter 'exclude_sen'; did you mean"),
        ({"user_id": ["a", "b"], "exclude": ["c", "d"]}, {}, "exclude of request 0 is 'c'; it is a list of item ids"),
        ({"user_id": ["a", "b"], "item_id": ["c"]}, {"mode": "score"}, "the columns are of different lengths:"),
        (["a"], {}, "columns need names, as in {'user_id': [...]}"),
    ],
)
def test_model_what_is_not_known_is_refused_though_mlflow_would_drop_it(registered, columns, params, message):
    with pytest.raises(MlflowException) as error:
        registered.model.predict(columns, params=params)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_model_signature_and_example_round_trip(registered):
    model = Model.load(str(registered.path))
    assert type(model.signature).from_dict(model.signature.to_dict()) == model.signature
    example = model.load_input_example(str(registered.path))
    assert example["user_id"].tolist() == registered.users[:2]
    answer = registered.model.predict(example, params=model.load_input_example_params(str(registered.path)))
    assert len(answer) == 40
    names = set(answer.columns)
    assert names < set(model.signature.outputs.input_names())
    serving = json.loads(load_serving_example(str(registered.path)))
    assert serving["dataframe_split"]["data"] == [[user] for user in registered.users[:2]]
    assert serving["params"] == {"mode": "recommend", "k": 20}


@pytest.fixture
def server(tmp_path):
    """The champion that is served, and where."""
    champion = Registered(tmp_path / "registered", integer_ids=False)
    with served(tmp_path, "models:/microrec@champion", champion.environment(tmp_path)) as address:
        yield champion, address


@pytest.mark.integration
def test_served_model_answers_every_format_alike_and_refuses_in_one_line(server):
    champion, address = server
    users, items = champion.users[:2], champion.items
    frame = pd.DataFrame({"user_id": users, "exclude": [items[:3], items[3:6]]})
    answer = champion.model.predict(frame, params={"k": 4})
    expected = json.loads(answer.to_json(orient="records"))
    split = {**frame.to_dict("split"), "index": [0, 1]}
    for format_, data in (
        ("dataframe_split", split),
        ("dataframe_records", frame.to_dict("records")),
        ("inputs", frame.to_dict("list")),
        ("inputs", frame.to_dict("records")),
        ("instances", frame.to_dict("records")),
    ):
        status, found = post(address, {format_: data, "params": {"k": 4}})
        assert (status, [_key(one) for one in found["predictions"]]) == (200, [_key(one) for one in expected]), format_
    status, found = post(address, frame.to_parquet(), "application/vnd.apache.parquet")  # takes no parameters
    assert [one["request"] for one in found["predictions"]] == [0] * 20 + [1] * 20
    status, found = post(
        address, {"inputs": [{"history": items[:2]}, {"user_id": "nobody"}], "params": {"unknown": "empty"}}
    )
    assert found["predictions"][-1] == {
        "request": 1,
        "user_id": "nobody",
        "rank": None,
        "item_id": None,
        "score": None,
        "source": "empty",
    }
    for wrong in ({"inputs": {"user": users}}, {"inputs": {"user_id": users}, "params": {"kk": 3}}):
        status, found = post(address, wrong)
        assert (status, found["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
        assert found["message"].startswith("there is no ")
        assert "\n" not in found["message"]
        assert "stack_trace" not in found


PAGE = Path(__file__).parents[3] / "docs/how-to/serve.md"


@pytest.mark.integration
def test_docs_served_model_that_follows_takes_an_increment_and_leaves_out_a_damaged_one(tmp_path):
    """The page's code as written: saved once, served, and never restarted."""
    champion = Registered(tmp_path / "registered", integer_ids=False)
    code, once = re.findall(r"```python\n(# (?:following|once).*?)```", PAGE.read_text(), re.DOTALL)
    (tmp_path / "following.py").write_text(code)
    store = {"STORE": str(champion.run.store.root), "SECONDS": "0.5", "PYTHONPATH": str(PAGE.parents[2])}
    subprocess.run(
        [sys.executable, "-c", once], cwd=tmp_path, env={**champion.environment(tmp_path), **store}, check=True
    )
    with served(tmp_path, "following", {**champion.environment(tmp_path), **store}) as address:
        question = {"inputs": [{"user_id": "user-0"}], "params": {"k": 40}}
        asked = [{"user_id": "user-1"}, {"history": champion.items[:2], "exclude": ["item-5"]}, {"user_id": "nobody"}]
        expected = json.loads(champion.model.predict(asked).to_json(orient="records"))
        status, found = post(address, {"inputs": asked})
        assert (status, [_key(one) for one in found["predictions"]]) == (200, [_key(one) for one in expected])
        give_increment(champion.run.config, "r1", ["new-1"])
        _until(lambda: "new-1" in _items(address, question))
        damaged = give_increment(champion.run.config, "r1", ["new-1", "new-2"]).folder
        (local_path(damaged) / "increment.json").unlink()
        _until(lambda: "serving r1 with increment 1: " in (tmp_path / "log").read_text())
        assert {"new-1", "new-2"} & _items(address, question) == {"new-1"}
        give_increment(champion.run.config, "r1", ["new-1", "new-2"])
        _until(lambda: "new-2" in _items(address, question))


def _items(address, question):
    return {row["item_id"] for row in post(address, question)[1]["predictions"]}


def _until(holds):
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def _key(row):
    return row["request"], row["user_id"], row["rank"], row["item_id"], row["source"]
