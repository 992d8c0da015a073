"""What a drill looks at and kills: the processes of one night, and what they have put into the store."""

import os
import re
import signal
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from deploy.processes import proc_stat, session_of
from tests.deploy.stack import BUCKET, Night, TestStack, wait_for


@dataclass(frozen=True)
class Drill:
    """A night with a store and a registered model of its own, so that it encodes and trains everything anew."""

    stack: TestStack
    name: str
    run_id: str
    """Airflow's."""

    @classmethod
    def begin(cls, stack: TestStack, name: str) -> "Drill":
        return cls(stack, name, stack.start_night(*overrides(name)))

    def finish(self) -> Night:
        """Follow the night to its end and verify its release."""
        night = self.stack.finish_night(self.run_id)
        options = [part for setting in overrides(self.name) for part in ("--set", setting)]
        assert self.stack.microrec("verify", night.release, *options)["digest"] == night.digest
        return night

    def commands(self, stage: str, modality: str = "") -> list[int]:
        """Processes of the night that run a stage (of a modality)."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            words = _command_line(int(folder.name))
            asked = stage in words[:3] and f"store.root={root(self.name)}" in words
            if asked and (not modality or modality in words):
                found.append(int(folder.name))
        return sorted(found)

    def kill_tasks(self, stage: str, modality: str = "") -> None:
        """Kill the Airflow tasks that run a stage; their commands end with them."""
        victims = {int(proc_stat(pid)[1]) for pid in self.commands(stage, modality)}  # their parents
        assert victims, f"no {stage} was running any more"
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not self.commands(stage, modality), 30)

    def parts(self, modality: str) -> list[str]:
        """Feature parts that were published."""
        return self.stack.store.glob(f"{BUCKET}/drills/{self.name}/features/{modality}/*/part-*.parquet")

    def num_encoded(self, modality: str) -> int:
        """Contents in those parts."""
        return sum(pq.read_metadata(self.stack.store.open(part)).num_rows for part in self.parts(modality))

    def num_committed(self, modality: str) -> int:
        """Contents that committed extraction stages say they have encoded."""
        done = self.stack.store.glob(f"{BUCKET}/drills/{self.name}/runs/*/extract-{modality}*/_SUCCESS")
        results = [
            self.stack.read_json(place.removeprefix(f"{BUCKET}/").replace("_SUCCESS", "result.json")) for place in done
        ]
        return sum(result["modalities"][modality]["encoded"] for result in results)

    def checkpoints(self) -> list[int]:
        """Epochs of the checkpoints in the store."""
        found = self.stack.store.glob(f"{BUCKET}/drills/{self.name}/runs/*/checkpoints/epoch-*.safetensors")
        return sorted(int(re.search(r"epoch-(\d+)", name)[1]) for name in found)

    def resumed(self, attempt: int) -> int:
        """The epoch after which an attempt at the training went on."""
        found = re.search(r"resumed after epoch (\d+)", self.stack.log(self.run_id, "train", attempt))
        assert found, f"attempt {attempt} began anew"
        return int(found[1])


def root(name: str) -> str:
    return f"s3://{BUCKET}/drills/{name}"


def overrides(name: str) -> list[str]:
    """Many small groups of pictures and many checkpoints, to be killed between."""
    return [
        f"store.root={root(name)}",
        f"mlflow.model_name={name}",
        "modalities.image.batch_size=1",
        "train.max_epochs=100",
        "train.check_every=2",
        "train.patience=1000",
    ]


def kill_service(stack: TestStack, name: str) -> None:
    """Kill a service with everything that it has started, as when its machine is lost."""
    pid = stack.processes.running(name)
    assert pid, f"{name} was not running"
    for victim in session_of(pid):
        os.kill(victim, signal.SIGKILL)
    wait_for(lambda: not session_of(pid), 30)


def _command_line(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return []
