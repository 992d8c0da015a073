"""What of an address is shown, what of a message, and which addresses are refused."""

import json
import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pipeline.addresses import masked, require_certain, require_no_credentials, without_secrets
from pipeline.errors import ConfigError

SHOWN = [
    ("postgresql+psycopg2://me:hunter2@host:5432/db", "postgresql+psycopg2://***@host:5432/db"),
    ("http://hunter2:@host", "http://***@host"),
    ("https://hunter2@host/path", "https://***@host/path"),
    ("http://u:p%40hunter2@host", "http://***@host"),
    ("http://host/?password=hunter2&page=3", "http://host/?password=***&page=3"),
    ("postgresql://host/db?sslmode=require&sslkey=hunter2", "postgresql://host/db?sslmode=require&sslkey=***"),
    ("https://host/x?X-Amz-Signature=hunter2&X-Amz-Date=1", "https://host/x?X-Amz-Signature=***&X-Amz-Date=1"),
    ("https://host/x?sig=hunter2#access_token=hunter2", "https://host/x?sig=***#access_token=***"),
    ("sqlite:///mlflow.db?key=hunter2", "sqlite:///mlflow.db?key=***"),
    ("host=db password=hunter2 user=me", "host=db password=*** user=me"),
]
"""Read as RFC 3986 has it."""
UNCERTAIN = [
    ("postgresql://me:hun/ter2@host/db", "postgresql://***@host/db"),
    ("postgresql://me:12/hunter2@host/db", "postgresql://***@host/db"),
    ("postgresql://me:hun ter2@host/db", "postgresql://***@host/db"),
    ("postgresql://me:hun\tter2@host/db", "postgresql://***@host/db"),
    ("postgresql://me:hun@ter2@host/db", "postgresql://***@host/db"),
    ("postgresql://me@corp:hunter2@host/db", "postgresql://***@host/db"),
    ("postgresql://me:hun?ter2@host/db", "postgresql://***@host/db"),
    ("postgresql://me:hun#ter2@host/db", "postgresql://***@host/db"),
    ("postgresql://me:hun[ter2@host/db", "postgresql://***@host/db"),
    ("postgresql://me:a://hunter2@host/db", "postgresql://***@host/db"),
    ("postgresql://me:hunter2", "postgresql://***"),
    ("https:///hunter2@host/", "https://***@host/"),
]
"""Two programs may read these differently."""
LOCATIONS = [
    ("s3://key:hunter2@bucket/items", "s3://***@bucket/items"),
    ("s3://KEY:hun/ter2@bucket/items", "s3://***@bucket/items"),
    ("s3://hunter2@bucket/items", "s3://***@bucket/items"),
]
PLAIN = [
    "http://host:8080/path",
    "http://[::1]:5000",
    "sqlite:////home/me@corp/a:b/mlflow.db",
    "s3://bucket/shop@2/a b.parquet",
    "s3://bucket/part-?.parquet",
    "file:///data/me@corp",
    "mail me:secret@host",
    "recall@20",
    "train.seed=3",
    "",
]


@pytest.mark.parametrize(("text", "shown"), [*SHOWN, *UNCERTAIN, *LOCATIONS])
def test_without_secrets_shows_none_and_stays_so(text, shown):
    assert without_secrets(text) == shown
    assert without_secrets(shown) == shown
    assert without_secrets(f"mlflow.tracking_uri={text}") == f"mlflow.tracking_uri={shown}"


@pytest.mark.parametrize("text", PLAIN)
def test_without_secrets_plain_text_stays(text):
    assert without_secrets(text) == masked(text) == text


@pytest.mark.parametrize(("text", "_"), UNCERTAIN)
def test_require_certain_refuses_and_says_no_secret(text, _):
    with pytest.raises(ConfigError, match="%2F") as refused:
        require_certain(text, "mlflow.tracking_uri")
    assert not any(part in str(refused.value) for part in ("hun", "ter2"))


@pytest.mark.parametrize("text", [text for text, _ in SHOWN if "://" in text])
def test_require_certain_lets_the_rest_pass(text):
    require_certain(text, "mlflow.tracking_uri")


@pytest.mark.parametrize(("text", "_"), LOCATIONS)
def test_require_no_credentials_refuses_and_says_no_secret(text, _):
    with pytest.raises(ConfigError, match="AWS_ACCESS_KEY_ID") as refused:
        require_no_credentials(text, "store.root")
    assert not any(part in str(refused.value) for part in ("hun", "ter2"))


def test_require_no_credentials_lets_locations_pass():
    for location in PLAIN[2:6]:
        require_no_credentials(location, "store.root")


def test_without_secrets_reaches_every_value_and_changes_nothing():
    url = "http://me:hunter2@host"
    document = {"a": [url, {"b": url}], "c": (url,), "n": 3, "none": None, "yes": True, "x": 0.5}
    before = json.dumps(document)
    assert without_secrets(document) == {
        "a": ["http://***@host", {"b": "http://***@host"}],
        "c": ["http://***@host"],
        "n": 3,
        "none": None,
        "yes": True,
        "x": 0.5,
    }
    assert json.dumps(document) == before


anything = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters='*"'), min_size=1, max_size=8)


@given(user=anything, password=anything, scheme=st.sampled_from(["http", "postgresql+psycopg2", "s3", "x"]))
def test_without_secrets_no_character_of_a_password_lets_it_be_shown(user, password, scheme):
    assume(not (scheme == "s3" and re.match("[a-z0-9._-]*[/?#]", user)))  # a bucket and its key, in which `@` may stand
    text = f"{scheme}://{user}:{password}@host/db"
    assert without_secrets(text) == f"{scheme}://***@host/db"
    assert without_secrets(f"--set mlflow.tracking_uri={text}").endswith("://***@host/db")


@pytest.mark.parametrize(
    ("prose", "told"),
    [
        ("a http://u:one@h and 'http://v:two@h', too", "a http://***@h and 'http://***@h', too"),
        ("s3://bucket/items.csv: user 'joe@shop.com'", "s3://bucket/items.csv: user 'joe@shop.com'"),
        ("url: /?password=hunter2/api", "url: /?password=***"),
        (
            "(FATAL) connection to postgresql://me:pw@h:1/d failed",
            "(FATAL) connection to postgresql://***@h:1/d failed",
        ),
        ("Authorization: Basic YWRtaW46aHVudGVyMg==", "Authorization: Basic ***"),
        ("set MLFLOW_TRACKING_PASSWORD to the server's", "set MLFLOW_TRACKING_PASSWORD to the server's"),
        (
            "sqlite:///FILE, postgresql+psycopg2://…, http(s)://…",
            "sqlite:///FILE, postgresql+psycopg2://…, http(s)://…",
        ),
    ],
)
def test_masked_prose_keeps_what_is_no_secret(prose, told):
    assert masked(prose) == told


def test_masked_takes_out_what_the_environment_keeps_secret():
    environment = {
        "AWS_SECRET_ACCESS_KEY": "wJalr/XUtn",
        "MLFLOW_TRACKING_PASSWORD": "hunter2",
        "MY_TOKEN": "1",
        "TOKENIZERS_PARALLELISM": "disabled",
        "HOME": "/home/me",
    }
    prose = "1 request with wJalr/XUtn, hunter2 from /home/me is disabled"
    assert masked(prose, environment) == "1 request with ***, *** from /home/me is disabled"
