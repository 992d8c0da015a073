import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from deploy.compose import ROOT, Stack, resolve
from deploy.env_file import complete, read

LONG_RUNNING = {
    "postgres",
    "redis",
    "seaweedfs",
    "mlflow",
    "airflow-api",
    "airflow-scheduler",
    "airflow-dag-processor",
    "airflow-triggerer",
    "worker",
}


@pytest.fixture
def env_file(tmp_path):
    path = tmp_path / ".env"
    complete(path, {"COMPOSE_PROFILES": ""})
    return path


@pytest.fixture
def containers(env_file):
    return resolve([env_file], {}, ("gpu", "cpu", "seed"))


def test_compose_every_secret_is_required(env_file):
    whole = env_file.read_text().splitlines()
    for name in read(env_file):
        if name == "COMPOSE_PROFILES":
            continue
        env_file.write_text("\n".join(line for line in whole if not line.startswith(f"{name}=")))
        with pytest.raises(SystemExit, match=name):
            resolve([env_file], {})


def test_compose_ports_are_on_loopback(containers):
    ports = [port for service in containers["services"].values() for port in service.get("ports", ())]
    assert len(ports) == 5
    assert {port["host_ip"] for port in ports} == {"127.0.0.1"}


def test_compose_every_service_has_limits_and_a_pinned_image(containers):
    for name, service in containers["services"].items():
        assert service["deploy"]["resources"]["limits"]["memory"], name
        assert re.search(r":v?\d+\.\d+", service["image"]), name


def test_compose_long_running_services_have_health_checks_and_restart(containers):
    for name in [*LONG_RUNNING, "gpu-worker", "gpu-worker-on-cpu"]:
        service = containers["services"][name]
        assert service["healthcheck"]["test"], name
        assert service["restart"] == "unless-stopped", name


@pytest.mark.parametrize(("profile", "worker"), [("gpu", "gpu-worker"), ("cpu", "gpu-worker-on-cpu")])
def test_compose_profile_chooses_who_serves_the_gpu_queue(env_file, profile, worker):
    services = resolve([env_file], {}, (profile,))["services"]
    assert set(services) == LONG_RUNNING | {"airflow-init", worker}
    reservations = services[worker]["deploy"]["resources"].get("reservations", {})
    assert bool(reservations.get("devices")) == (profile == "gpu")
    assert services[worker]["command"][2:6] == ["worker", "--queues", "gpu", "--concurrency"]
    assert services[worker]["command"][6] == "1"


def test_compose_metrics_are_off_until_switched_on(env_file):
    def metrics():
        environment = resolve([env_file], {})["services"]["airflow-scheduler"]["environment"]
        return environment["AIRFLOW__METRICS__STATSD_ON"], environment["AIRFLOW__METRICS__OTEL_ON"]

    assert metrics() == ("False", "False")
    with env_file.open("a") as file:
        file.write("STATSD_ON=True\nOTEL_ON=True\n")
    assert metrics() == ("True", "True")


def test_compose_lineage_is_off_until_it_has_an_address_and_keeps_source_code(env_file):
    def lineage(service):
        environment = resolve([env_file], {})["services"][service]["environment"]
        assert environment["AIRFLOW__OPENLINEAGE__DISABLE_SOURCE_CODE"] == "True"
        return environment["OPENLINEAGE_URL"]

    assert lineage("worker") == ""
    with env_file.open("a") as file:
        file.write("OPENLINEAGE_URL=http://collector:5000\n")
    assert lineage("worker") == lineage("airflow-scheduler") == "http://collector:5000"


def test_compose_queue_of_pictures_and_deadline_are_settings_of_containers_and_processes(env_file, tmp_path):
    def settings(document):
        environment = document["services"]["airflow-dag-processor"]["environment"]
        return environment["MICROREC_IMAGE_QUEUE"], environment["MICROREC_DEADLINE_HOURS"]

    assert settings(resolve([env_file], {})) == ("default", "1")
    with env_file.open("a") as file:
        file.write("IMAGE_QUEUE=gpu\nDEADLINE_HOURS=0.5\n")
    assert settings(resolve([env_file], {})) == settings(Stack(env_file, tmp_path / "state").document) == ("gpu", "0.5")


def test_compose_a_task_may_wait_a_day_for_a_gpu(env_file, tmp_path):
    def seconds(document):
        return document["services"]["airflow-scheduler"]["environment"]["AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT"]

    assert seconds(resolve([env_file], {})) == seconds(Stack(env_file, tmp_path / "state").document) == "86400"


def test_compose_folder_of_shops_and_plugins_reach_every_airflow_service(env_file, tmp_path):
    with env_file.open("a") as file:
        file.write("CONFIGS=/etc/shops\n")
    stack = Stack(env_file, tmp_path / "state", ("cpu",))
    for name, service in stack.document["services"].items():
        environment = service.get("environment") or {}
        if "AIRFLOW_HOME" in environment:
            assert environment["MICROREC_CONFIGS"] == "/etc/shops", name
            folder = Path(environment["AIRFLOW__CORE__PLUGINS_FOLDER"])
            assert (folder / "microrec_plugin.py").exists()
    assert stack.service("airflow-dag-processor").configs.keys() == stack.service("worker").configs.keys()


WORKERS = ("worker", "gpu-worker", "gpu-worker-on-cpu")
CORE_SECRETS = ("AIRFLOW_DB_PASSWORD", "AIRFLOW_FERNET_KEY", "AIRFLOW_SECRET_KEY", "AIRFLOW_JWT_SECRET")
"""What no task needs: a worker reaches Airflow by the execution API, with the token of its message."""


def holders(env_file, containers, secret):
    """Services whose environment, command or files have a secret."""
    value = read(env_file)[secret]
    found = {name for name, service in containers["services"].items() if value in str(service)}
    files = {name for name, config in containers["configs"].items() if value in config["content"]}
    return found | {
        name
        for name, service in containers["services"].items()
        if files & {config["source"] for config in service.get("configs", ())}
    }


def test_compose_each_secret_is_known_to_those_who_need_it(env_file, containers):
    airflow = {"airflow-init", "airflow-api", "airflow-scheduler", "airflow-dag-processor", "airflow-triggerer"}
    for secret in CORE_SECRETS:
        assert holders(env_file, containers, secret) - {"postgres"} == airflow, secret
    known = {
        "REDIS_PASSWORD": {"redis", "airflow-scheduler", *WORKERS},
        "AIRFLOW_ADMIN_PASSWORD": {"airflow-init"},
        "AIRFLOW_NOTE_PASSWORD": {"airflow-init", *WORKERS},
        "MLFLOW_ADMIN_PASSWORD": {"mlflow", *WORKERS},
        "MLFLOW_DB_PASSWORD": {"postgres", "mlflow"},
        "MLFLOW_SECRET_KEY": {"mlflow"},
        "POSTGRES_PASSWORD": {"postgres"},
        "S3_SECRET_KEY": {"seaweedfs", "seed"},
        "S3_PIPELINE_SECRET_KEY": {"seaweedfs", *WORKERS},
        "S3_MLFLOW_SECRET_KEY": {"seaweedfs", "mlflow"},
        "VECTORS_DB_PASSWORD": {"postgres", *WORKERS},
    }
    assert {secret: holders(env_file, containers, secret) for secret in known} == known


def test_compose_every_container_is_confined(containers):
    added = {
        "postgres": {"CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"},
        "redis": {"CHOWN", "SETGID", "SETUID"},
    }
    for name, service in containers["services"].items():
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["cap_drop"] == ["ALL"], name
        assert set(service.get("cap_add", ())) == added.get(name, set()), name
        assert service["read_only"] is True, name
        places = {volume["target"] for volume in service.get("volumes", ())}
        places |= {entry.partition(":")[0] for entry in service["tmpfs"]}
        assert "/tmp" in places, name
        home = (service.get("environment") or {}).get("AIRFLOW_HOME")
        assert home is None or home in places, name


def test_compose_a_stage_is_prepared_on_a_disk_and_not_in_memory(containers):
    for name in (*WORKERS, "seed"):
        volumes = {volume["target"]: volume["type"] for volume in containers["services"][name]["volumes"]}
        assert volumes["/tmp"] == "volume", name


def test_compose_redis_writes_where_its_image_lets_it(containers):
    assert [volume["target"] for volume in containers["services"]["redis"]["volumes"]] == ["/data"]
    assert 'dir "/data"' in containers["configs"]["redis"]["content"]


def test_compose_postgres_has_memory_to_share(containers):
    assert int(containers["services"]["postgres"]["shm_size"]) >= 256 * 2**20


@pytest.mark.parametrize(
    ("service", "fixed"),
    [
        ("postgres", (0, 8, 7)),  # CVE-2026-3172 in 0.8.2; an overflow in IVFFlat in 0.8.7
        ("redis", (7, 4, 11)),  # CVE-2025-49844 in 7.4.6, CVE-2026-23479 in 7.4.9, a use after free in 7.4.10
    ],
)
def test_compose_images_are_past_known_faults(containers, service, fixed):
    version = re.search(r":(\d+)\.(\d+)\.(\d+)", containers["services"][service]["image"])
    assert tuple(map(int, version.groups())) >= fixed


def test_make_docker_night_seeds_and_runs_a_night(containers):
    command = ["make", "--dry-run", "--no-print-directory", "docker-night", "PYTHON=python3", "NIGHT=--param shards=1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "docker compose run --rm seed",
        "python3 -m deploy.night --param shards=1",
    ]
    assert containers["services"]["seed"]


def test_stack_processes_are_the_containers_services_with_the_same_commands(env_file, containers, tmp_path):
    stack = Stack(env_file, tmp_path / "state", ("gpu", "cpu", "seed"))
    assert set(stack.document["services"]) == set(containers["services"])
    for service in stack.services:
        container = containers["services"][service.name]
        whole = [*(container.get("entrypoint") or ()), *container["command"]]
        assert [Path(service.command[0]).name, len(service.command)] == [Path(whole[0]).name, len(whole)]
        assert set(service.environment) == set(container["environment"] or {}) if service.environment else True
        assert not [value for value in service.environment.values() if "/opt/" in value], service.name


def test_stack_services_stand_after_what_they_need(env_file, tmp_path):
    stack = Stack(env_file, tmp_path / "state", ("cpu",))
    names = [service.name for service in stack.services]
    for service in stack.services:
        assert all(names.index(need) < names.index(service.name) for need in service.needs)
    assert [service.name for service in stack.services if stack.runs_once(service)] == ["airflow-init"]


def test_compose_files_it_names_are_there(containers):
    assert (ROOT / "deploy" / "pools.json").exists()
    for service in containers["services"].values():
        if "build" in service:
            dockerfile = Path(service["build"]["context"]) / service["build"]["dockerfile"]
            assert re.search(rf"^FROM .* AS {service['build']['target']}$", dockerfile.read_text(), re.M)


def test_images_everywhere_carry_the_version_of_the_program():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    files = [ROOT / "docker-compose.yml", *sorted((ROOT / "deploy" / "kubernetes").glob("*.*"))]
    tags = r"image: microrec/\w+:(\S+)|WORKER_CONTAINER_TAG=(\S+)"
    found = [tag for file in files for pair in re.findall(tags, file.read_text()) for tag in pair if tag]
    assert len(found) >= 6
    assert set(found) == {version}
