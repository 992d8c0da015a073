"""What installing the wheel brings, and what happens beside a folder `model/` of the user's own."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from deploy.compose import ROOT

UV = ROOT / ".venv-uv" / "bin" / "uv"
PACKAGES = {"features", "model", "pipeline"}
pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder into which the wheel was installed, without what it needs."""
    folder = tmp_path_factory.mktemp("wheel")
    # Built from a copy: a build writes beside the sources, and finds what an older one has left there.
    sources = folder / "sources"
    for init in ROOT.glob("*/__init__.py"):
        shutil.copytree(init.parent, sources / init.parent.name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, sources)
    build = f"from setuptools import build_meta; build_meta.build_wheel({str(folder)!r})"
    subprocess.run([sys.executable, "-c", build], cwd=sources, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    command = [UV, "pip", "install", "--quiet", "--offline", "--no-deps", "--python", sys.executable]
    subprocess.run([*command, "--target", folder / "installed", wheel], check=True)
    return folder / "installed"


@pytest.fixture
def folder(tmp_path):
    """A folder of a user's, with a package `model`."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "__init__.py").touch()
    return tmp_path


def python(installed, folder, *arguments):
    """Run Python in a folder, with the wheel's packages, what they need and nothing of the checkout."""
    # Without `site` the checkout's own editable installation is not there to help out.
    path = os.pathsep.join([str(installed), sysconfig.get_path("purelib")])
    command = [sys.executable, "-S", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_wheel_has_three_packages_and_no_dags(installed):
    names = {path.name for path in installed.iterdir() if not path.name.startswith(".")}
    assert {name for name in names if not name.endswith(".dist-info")} == PACKAGES | {"bin"}
    assert [path.name for path in (installed / "bin").iterdir()] == ["microrec"]
    assert (installed / "pipeline" / "py.typed").exists()


def test_command_of_the_wheel_runs_in_a_folder_with_a_model_of_the_users(installed, folder):
    microrec = installed / "bin" / "microrec"
    done = python(installed, folder, microrec, "sample", "demo", "--items", "40", "--users", "60")
    assert done.returncode == 0, done.stderr
    options = ["-c", "demo/microrec.toml", "--set", "train.max_epochs=1", "--set", "gate.baselines=[]", "--json"]
    done = python(installed, folder, microrec, "run", *options)
    assert done.returncode == 0, done.stderr
    assert Path(json.loads(done.stdout)["release"]).exists()


def test_script_in_a_folder_with_a_model_of_the_users_does_not_find_ours(installed, folder):
    ours = sorted(path.stem for path in (installed / "model").glob("[a-z]*.py"))[0]
    (folder / "script.py").write_text(f"import pipeline\nimport model.{ours}\n")
    done = python(installed, folder, "script.py")
    assert f"No module named 'model.{ours}'" in done.stderr
    (folder / "model" / "__init__.py").unlink()  # a folder that is no package stands in nobody's way
    assert python(installed, folder, "script.py").returncode == 0


def test_module_of_the_wheel_run_in_a_folder_with_a_model_of_the_users_does_not_find_ours(installed, folder):
    ours = sorted(path.stem for path in (installed / "model").glob("[a-z]*.py"))[0]
    done = python(installed, folder, "-m", f"model.{ours}")
    assert f"No module named model.{ours}" in done.stderr
