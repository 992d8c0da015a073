"""How often a run has begun, and where each of its beginnings has its folders (docs/decisions/0025-pinned-input.md)."""

from dataclasses import dataclass

from upath import UPath

from pipeline.documents import as_record
from pipeline.storage.files import parse_json, read_bytes
from pipeline.storage.layout import Store


@dataclass(frozen=True, kw_only=True)
class Generation:
    """How often a run has begun, as it stands in the store."""

    generation: int = 1


def generation_in(file: UPath) -> tuple[int, bytes | None]:
    """The generation that `generation.json` names, and its bytes for a swap; 1 where there is no such file."""
    try:
        payload = read_bytes(file)
    except FileNotFoundError:
        return 1, None
    return as_record(Generation, parse_json(file, payload), file).generation, payload


def generation_folder(store: Store, run_id: str, generation: int) -> UPath:
    """Folder of all that one generation of a run has made."""
    folder = store.run(run_id)
    return folder if generation == 1 else folder / f"again-{generation}"


def present_folder(store: Store, run_id: str) -> UPath:
    """The same of the generation that stands now; that of a published release stands for good."""
    return generation_folder(store, run_id, generation_in(store.generation(run_id))[0])
