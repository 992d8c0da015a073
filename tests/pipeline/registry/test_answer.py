"""A registered model is loaded and asked; what is wrong with it is said."""

from contextlib import contextmanager
from types import SimpleNamespace

import pandas as pd
import pytest

from pipeline.errors import PassingError
from pipeline.registry.answer import answer_problem
from tests.pipeline.release_factory import make_config, make_run


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make_run(make_config(tmp_path_factory.mktemp("released"), database=False), "r1").store


def registered(answer):
    """A registry whose model gives this answer, or raises it."""

    def predict(asked, params):
        assert (asked["user_id"].tolist(), params) == (["user-0"], {"k": 1, "exclude_seen": False})
        return pd.DataFrame(answer)

    @contextmanager
    def loaded(name):
        assert name == "@champion"
        if isinstance(answer, Exception):
            raise answer
        yield SimpleNamespace(predict=predict)

    return SimpleNamespace(model_name="microrec", loaded=loaded, artifacts_of=lambda name: "file:///lost")


def problem(store, answer):
    return answer_problem(store, registered(answer), "r1", "@champion")


def test_answer_of_the_release_itself_is_no_problem(store):
    # a user's vector is that of the item that is held out, and all have length 1
    assert problem(store, {"item_id": ["item-22"], "score": [1.0]}) is None


@pytest.mark.parametrize(
    "answer",
    [
        {"item_id": ["item-22"], "score": [0.9]},
        {"item_id": ["item-3"], "score": [1.0]},
        {"item_id": ["stranger"], "score": [1.0]},
        {"item_id": [], "score": []},
    ],
)
def test_answer_that_is_not_the_releases_is_said(store, answer):
    said = problem(store, answer)
    assert said == "models:/microrec@champion does not answer as release r1 would: it holds other vectors"


def test_answer_of_a_model_that_cannot_be_loaded_names_the_place_and_the_mend(store):
    said = problem(store, ValueError("No such artifact: ''"))
    assert said.startswith("models:/microrec@champion cannot be loaded: No such artifact: ''.")
    assert "file:///lost" in said
    assert said.endswith("`microrec register --again --release r1` registers it anew")


def test_answer_of_a_store_that_does_not_answer_may_be_asked_again(store):
    with pytest.raises(PassingError, match="models:/microrec@champion"):
        problem(store, ConnectionError("refused"))
