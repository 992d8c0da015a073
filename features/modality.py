"""Configuration of one modality: which content it is made of and what encodes it."""

from dataclasses import dataclass
from typing import Literal

LongTexts = Literal["cut", "average"]
Backend = Literal["auto", "openvino", "torch"]
Precision = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True, kw_only=True)
class ModalityConfig:
    """One table `[modalities.<name>]` of the configuration."""

    encoder: str
    """`efficientnet-lite0`, `all-minilm-l6-v2`, `torchvision:<model>@<weights>`, `timm:<name>`,
    `sentence-transformers:<name or path>`, `hashed-words:<dim>` or `precomputed`."""
    columns: tuple[str, ...] = ()
    """Text columns joined in this order; empty for pictures and for `precomputed`."""
    vectors: str = ""
    """`precomputed` only: Parquet (file or folder) with `item_id, vector`, a `.npy` matrix, or Amazon's `.b` file."""
    ids: str = ""
    """`precomputed` with `.npy` only: a text file with one item id a line, in the matrix's row order. With `rows` the
    row number, from 0, is the item id."""
    long_texts: LongTexts = "cut"
    """What to do with a text that is longer than the encoder reads (256 word pieces for `all-minilm-l6-v2`). `cut` it,
    or encode it in parts and `average` their vectors. `validate` and `extract` say how many are longer."""
    batch_size: int = 32
    """Contents encoded at once."""
    device: str = "auto"
    """`auto` (CUDA if there is one), `cpu`, `cuda` or `cuda:<n>`."""
    backend: Backend = "auto"
    """What runs the encoder. `auto`: `openvino` on a CPU, `torch` on a GPU or if OpenVINO cannot convert the
    encoder. A store that already has vectors of one backend stays with it."""
    precision: Precision = "auto"
    """Precision of the computation; vectors are float32. `auto`: `float32`; for pictures on a GPU `bfloat16`."""

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {self.batch_size}")
        if self.backend == "openvino" and self.device.startswith("cuda"):
            raise ValueError(
                f"backend = 'openvino' runs on the CPU, and device is {self.device!r}; leave one of them out"
            )
        if self.encoder == "precomputed" and not self.vectors:
            raise ValueError("encoder = 'precomputed' needs vectors = 'FILE'")
        if self.long_texts != "cut" and not self.columns:
            raise ValueError("long_texts is a setting of texts and needs columns")
