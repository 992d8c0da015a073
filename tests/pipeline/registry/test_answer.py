"""A registered model is loaded and asked; what is wrong with it is said."""

import hashlib
from contextlib import contextmanager
from types import SimpleNamespace

import pandas as pd
import pytest

from pipeline.errors import PassingError
from pipeline.registry import answer as module
from pipeline.registry.answer import answer_problem
from tests.pipeline.release_factory import make_config, make_run


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make_run(make_config(tmp_path_factory.mktemp("released"), database=False), "r1").store


@pytest.fixture
def problem(monkeypatch, store, tmp_path):
    """What is said of a registry whose model gives an answer, or raises it."""

    def ask(answer, files=None):
        found = registered(answer, tmp_path)
        monkeypatch.setattr(module, "load", lambda folder: found)
        return answer_problem(store, found, "r1", "@champion", files)

    return ask


def registered(answer, folder):
    """A registry whose model, which is itself, gives this answer, or raises it; its files are in a folder."""

    def predict(asked, params):
        assert (asked["user_id"].tolist(), params) == (["user-0"], {"k": 1, "exclude_seen": False})
        return pd.DataFrame(answer)

    @contextmanager
    def files_of(name):
        assert name == "@champion"
        if isinstance(answer, Exception):
            raise answer
        yield folder

    return SimpleNamespace(
        model_name="microrec", files_of=files_of, predict=predict, artifacts_of=lambda name: "file:///lost"
    )


def test_answer_of_the_release_itself_is_no_problem(problem):
    # a user's vector is that of the item that is held out, and all have length 1
    assert problem({"item_id": ["item-22"], "score": [1.0]}) is None


@pytest.mark.parametrize(
    "answer",
    [
        {"item_id": ["item-22"], "score": [0.9]},
        {"item_id": ["item-3"], "score": [1.0]},
        {"item_id": ["stranger"], "score": [1.0]},
        {"item_id": [], "score": []},
    ],
)
def test_answer_that_is_not_the_releases_is_said(problem, answer):
    said = problem(answer)
    assert said == "models:/microrec@champion does not answer as release r1 would: it holds other vectors"


def test_answer_of_a_model_that_cannot_be_loaded_names_the_place_and_the_mend(problem):
    said = problem(ValueError("No such artifact: ''"))
    assert said.startswith("models:/microrec@champion cannot be loaded: No such artifact: ''.")
    assert "file:///lost" in said
    assert said.endswith("`microrec register --again --release r1` registers it anew")


def test_answer_of_a_store_that_does_not_answer_may_be_asked_again(problem):
    with pytest.raises(PassingError, match="models:/microrec@champion"):
        problem(ConnectionError("refused"))


def test_answer_of_a_model_whose_files_are_altered_names_them(problem, tmp_path):
    for name in ("whole.npy", "altered.npy"):
        (tmp_path / name).write_bytes(b"1")
    files = {"whole.npy": hashlib.sha256(b"1").hexdigest(), "altered.npy": "ab" * 32, "gone.npy": "cd" * 32}
    said = problem({"item_id": ["item-22"], "score": [1.0]}, files)
    assert said.startswith("models:/microrec@champion is damaged: altered.npy, gone.npy are not as they were")
