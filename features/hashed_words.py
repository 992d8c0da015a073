"""Words hashed to columns (Weinberger et al., arXiv:0902.2206): for brands, colours, departments. It has no weights."""

from collections.abc import Sequence

import numpy as np

from features.encoder import Encoder, EncoderSpec
from features.errors import FeatureError
from features.modality import ModalityConfig

HASHED_WORDS = "hashed-words:<dim>"


def hashed_words(config: ModalityConfig, dim: str) -> EncoderSpec:
    """How often each word stands in a text, hashed to `dim` columns; length 1.

    A word is what stands between blanks, in lower case. The cosine of two texts is that of their counts of words,
    except for words that fall on one column. Counts keep their sign, so no two words cancel,
    and no text has a vector of zeros.

    Raises `FeatureError` if `dim` is not a whole number above 0.
    """
    if not dim.isdecimal() or int(dim) < 1:
        raise FeatureError(f"{config.encoder}: write hashed-words:<dim> (columns), such as hashed-words:256")
    return EncoderSpec(name=config.encoder, content="text", revision="1", load=lambda: _load(int(dim)))


def _load(dim: int) -> Encoder:
    from sklearn.feature_extraction.text import HashingVectorizer

    hashing = HashingVectorizer(n_features=dim, token_pattern=r"\S+", alternate_sign=False, dtype=np.float32)

    def encode(texts: Sequence[str]) -> np.ndarray:
        return np.asarray(hashing.transform(texts).toarray())

    return Encoder(dim, str, encode, "cpu")
