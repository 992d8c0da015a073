"""How much of a text an encoder reads, known without loading the encoder."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

_TOKENIZER, _SETTINGS, _LIMIT = "tokenizer.json", "sentence_bert_config.json", "max_seq_length"


@dataclass(frozen=True)
class TextLimit:
    """The word pieces that a sentence-transformers model reads of a text; the rest is cut."""

    pieces: int
    """Marks of beginning and end included."""
    _file: Path = field(repr=False)

    @cached_property
    def _tokenizer(self) -> Any:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(self._file))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer

    def exceeded_by(self, texts: Sequence[str]) -> list[bool]:
        """Whether each text has more word pieces than are read.

        No piece is shorter than a byte, so short texts need not be cut into pieces.
        """
        exceeded = [len(text.encode()) > self.pieces - 2 for text in texts]
        long = [text for text, might in zip(texts, exceeded, strict=True) if might]
        counts = iter([len(pieces.ids) for pieces in self._tokenizer.encode_batch(long)] if long else [])
        return [might and next(counts) > self.pieces for might in exceeded]

    def parts(self, text: str) -> list[tuple[str, int]]:
        """The text as parts that are read whole, and the word pieces of each; cut between words where there are any."""
        pieces = self._tokenizer.encode(text, add_special_tokens=False)
        words, offsets, room = pieces.word_ids, pieces.offsets, self.pieces - 2
        parts, start, begin = [], 0, 0
        while len(words) - start > room:
            end = start + room
            while end > start and words[end] == words[end - 1]:
                end -= 1
            end = end if end > start else start + room
            parts.append((text[begin : offsets[end][0]], end - start))
            start, begin = end, offsets[end][0]
        return [*parts, (text[begin:], max(1, len(words) - start))]


def find_limit(folder: Path) -> TextLimit | None:
    """The limit of a model in a folder; None where its files do not say."""
    try:
        pieces = json.loads((folder / _SETTINGS).read_bytes()).get(_LIMIT)
    except (OSError, ValueError, AttributeError):
        return None
    known = isinstance(pieces, int) and (folder / _TOKENIZER).is_file()
    return TextLimit(pieces, folder / _TOKENIZER) if known else None
