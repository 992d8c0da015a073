"""What the import contracts cannot say: every room introduces itself, and no file leans on another's imports."""

import ast
from pathlib import Path

import pytest

import pipeline

ROOT = Path(pipeline.__file__).parents[1]
ROOMS = sorted(path.parent for path in (ROOT / "pipeline").rglob("__init__.py"))
FILES = [path for package in ("pipeline", "features", "model") for path in (ROOT / package).rglob("*.py")]
LOADED_ON_REQUEST = {"compute", "dataset", "parquet"}
"""Submodules of pyarrow that `import pyarrow` does not bring."""


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.name)
def test_room_says_what_may_enter(room):
    if room.name != "pipeline":
        assert "What enters here" in ast.get_docstring(ast.parse((room / "__init__.py").read_text(encoding="utf-8")))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_submodule_of_pyarrow_that_is_used_is_imported(file):
    """`pa.compute` without its import works only where somebody else has imported it before."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "pa"
    }
    assert not used & LOADED_ON_REQUEST
