"""Hashed words beside scikit-learn's counts, which hash nothing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.preprocessing import normalize

from features.errors import FeatureError
from features.modality import ModalityConfig
from features.registry import find_encoder

TEXTS = ["Women Blue Denim", "Men blue Denim denim", "Kids Light-Pink", "Women Blue Denim"]
word = st.text(st.characters(exclude_categories=["Z", "C"]), min_size=1, max_size=6)
text = st.lists(word, min_size=1, max_size=5).map(" ".join)


def encode(texts, dim=4096, **settings):
    config = ModalityConfig(encoder=f"hashed-words:{dim}", columns=("brand",), **settings)
    return find_encoder("brand", config).load().encode(texts)


def test_hashed_words_have_the_cosines_of_counted_words():
    counted_IW = normalize(CountVectorizer(token_pattern=r"\S+").fit_transform(TEXTS)).toarray()
    vector_ID = encode(TEXTS)
    assert vector_ID.shape == (4, 4096)
    assert vector_ID.dtype == np.float32
    np.testing.assert_allclose(vector_ID @ vector_ID.T, counted_IW @ counted_IW.T, atol=1e-6)


@given(texts=st.lists(text, min_size=1, max_size=4), dim=st.integers(1, 8))
def test_hashed_words_have_length_one_however_many_fall_on_one_column(texts, dim):
    np.testing.assert_allclose(np.linalg.norm(encode(texts, dim), axis=1), 1, atol=1e-6)


def test_hashed_words_do_not_depend_on_the_batch():
    np.testing.assert_array_equal(encode(TEXTS), np.concatenate([encode([text]) for text in TEXTS]))


def test_hashed_words_have_one_key_whatever_runs_other_encoders():
    keys = {
        find_encoder("brand", ModalityConfig(encoder="hashed-words:64", columns=("brand",), backend=backend)).key
        for backend in ("auto", "torch", "openvino")
    }
    assert len(keys) == 1


@pytest.mark.parametrize("dim", ["", "0", "-1", "many", "2.5"])
def test_hashed_words_without_a_number_of_columns_are_refused(dim):
    with pytest.raises(FeatureError, match="write hashed-words:<dim>"):
        encode(["a"], dim)
