import re
import subprocess

from deploy.compose import ROOT

DOCKERFILE = ROOT / "deploy" / "Dockerfile"


def test_dockerfile_passes_hadolint():
    done = subprocess.run(
        [ROOT / ".venv" / "bin" / "hadolint", DOCKERFILE], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_dockerfile_final_images_do_not_run_as_root():
    stages = re.split(r"^FROM ", DOCKERFILE.read_text(), flags=re.M)[1:]
    parents = dict(re.match(r"(\S+) AS (\S+)", stage).groups()[::-1] for stage in stages)
    bodies = {re.match(r"\S+ AS (\S+)", stage)[1]: stage for stage in stages}
    for image in ("airflow", "worker", "mlflow"):
        while "USER" not in bodies[image]:
            image = parents[image]
        assert re.search(r"^USER [1-9]\d*$", bodies[image], re.M)


def test_dockerfile_copies_only_what_dockerignore_lets_through():
    let_through = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = re.findall(r"^COPY (?:--chown=\S+ )?(?!--from)(.+) \S+$", DOCKERFILE.read_text(), re.M)
    assert {name.split("/")[0] for line in copied for name in line.split()} == let_through
