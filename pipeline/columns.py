"""Every column name of the tables that enter, stay in, or leave the program. The one place for them.

`*_id` is the user's own identifier; `*_index` is a row number of ours.
"""

# Input: catalogue and interactions
ITEM_ID = "item_id"
USER_ID = "user_id"
IMAGE_PATH = "image_path"
TITLE = "title"
TIMESTAMP = "timestamp"
RATING = "rating"
WEIGHT = "weight"
SPLIT = "split"

# Feature store: one row per distinct content
CONTENT_HASH = "content_hash"
VECTOR = "vector"
STATUS = "status"

# Contents of a catalogue, one row per item
SIZE = "size"
BYTES = "bytes"
LONG = "long"

# Contents known: one row per reading of a location
LOCATION = "location"
VERSION = "version"
SHA256 = "sha256"
READ_AT = "read_at"
SETTLED = "settled"
PROBLEM = "problem"
PAYLOAD = "payload"

# Dataset of a run
ITEM_INDEX = "item_index"
USER_INDEX = "user_index"
MODALITY = "modality"
KIND = "kind"

# Release
EMBEDDING = "embedding"
CONTENT_EMBEDDING = "content_embedding"
SOURCE = "source"
NEIGHBOUR_ID = "neighbour_id"
RANK = "rank"
SIMILARITY = "weight"
SCORE = "score"

# Questions to the registered model and its answers, beside the release's own columns
HISTORY, CANDIDATES, EXCLUDE = "history", "candidates", "exclude"
ASKED = (USER_ID, HISTORY, ITEM_ID, CANDIDATES, EXCLUDE)
REQUEST = "request"
ASKED_ITEM_ID = "asked_item_id"


def modality_weight(modality: str) -> str:
    """Name of the release column that holds an item's attention weight for `modality`."""
    return f"weight_{modality}"


TRAIN, VALIDATION, TEST = "train", "validation", "test"
