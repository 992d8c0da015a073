"""No data becomes code: nothing in the source runs it, and weights are the published ones or tensors alone."""

import ast
import os
import pickle
from pathlib import Path

import pytest
import torch

from features.encoder import require_weights
from features.errors import FeatureError
from features.image_encoders import load_efficientnet_lite0
from features.modality import ModalityConfig
from features.text_encoders import minilm
from pipeline import process

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("pipeline", "features", "model", "dags", "deploy", "bench")
MODULES = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "marshal", "shelve", "joblib", "jsonpickle"}
CALLS = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "yaml.load", "yaml.unsafe_load"}
KNOWN = {("pipeline/stages/batches.py", "pickle"), ("bench/faults/child.py", "exec")}
"""A worker asks whether its own error can be sent: what it unpickles, it has pickled on the same line. A night that is
forked begins with what stands in `bench/faults` for it, as one of a new interpreter does by `python -c`."""


def dangers(tree: ast.AST) -> set[str]:
    """What of a module could run code that is data."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.partition(".")[0] in MODULES}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in MODULES:
            found.add(str(node.module))
        elif isinstance(node, ast.Call):
            found |= dangers_of_call(node)
    return found


def dangers_of_call(node: ast.Call) -> set[str]:
    name = ast.unparse(node.func)
    options = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
    found = {name} & CALLS
    if name == "torch.load" and options.get("weights_only") != "True":
        found.add("torch.load without weights_only=True")
    for option in ("allow_pickle", "shell", "trust_remote_code"):
        if options.get(option, "False") != "False":
            found.add(f"{name}({option}={options[option]})")
    return found


def test_source_runs_no_code_that_is_data():
    files = [file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py")]
    assert len(files) > 200
    found = {
        (str(file.relative_to(ROOT)), danger)
        for file in files
        for danger in dangers(ast.parse(file.read_text(encoding="utf-8")))
    }
    assert found == KNOWN


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from joblib import load",
        "eval(text)",
        "exec(text)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "subprocess.run(text, shell=True)",
        "SentenceTransformer(name, trust_remote_code=True)",
        "os.system(text)",
        "yaml.load(text)",
    ],
)
def test_dangers_are_found(line):
    assert dangers(ast.parse(line))


class Shell:
    """Runs a command where it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("was-here",)


def test_weights_with_code_in_them_are_refused(tmp_path, monkeypatch):
    """As torchvision calls it, and timm: without a word on what may be in the file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", raising=False)
    process.set_up()
    torch.save({"weight": Shell()}, tmp_path / "weights.pth")
    with pytest.raises(pickle.UnpicklingError, match="Weights only load failed"):
        torch.load(tmp_path / "weights.pth", weights_only=False)
    assert not (tmp_path / "was-here").exists()


def test_packaged_weights_that_were_altered_are_refused(monkeypatch, tmp_path):
    altered = tmp_path / "weights.pth"
    altered.write_bytes(b"other")
    monkeypatch.setattr("features.image_encoders._lite0_weights", lambda: altered)
    with pytest.raises(FeatureError, match=r"efficientnet-lite0: .* has sha256 .*, expected 579344"):
        load_efficientnet_lite0()
    monkeypatch.setattr("features.text_encoders.MINILM_SHA256", {"config.json": "0" * 64})
    spec = minilm(ModalityConfig(encoder="all-minilm-l6-v2", columns=("title",)))
    with pytest.raises(FeatureError, match=r"all-minilm-l6-v2: .*config.json has sha256 "):
        spec.load()


def test_require_weights_takes_the_published_file(tmp_path):
    file = tmp_path / "x"
    file.write_bytes(b"abc")
    require_weights("x", {file: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"})
