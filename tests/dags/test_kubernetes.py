"""The pods that the Kubernetes executor would start, rendered by the executor's own code."""

from pathlib import Path

import pytest
from airflow.providers.cncf.kubernetes.executors.kubernetes_executor_utils import get_base_pod_from_template
from airflow.providers.cncf.kubernetes.pod_generator import PodGenerator

KUBERNETES = Path(__file__).resolve().parents[2] / "deploy" / "kubernetes"


def render(template, task_id):
    return PodGenerator.construct_pod(
        namespace="microrec",
        scheduler_job_id="1",
        pod_id=task_id,
        dag_id="microrec_nightly",
        task_id=task_id,
        kube_image="microrec/worker:1.0.0",
        try_number=1,
        map_index=-1,
        date=None,
        run_id="scheduled__x",
        args=["airflow"],
        pod_override_object=None,
        base_worker_pod=get_base_pod_from_template(str(template), None),
    )


@pytest.mark.parametrize(("template", "gpus"), [("pod.yaml", None), ("gpu-pod.yaml", "1")])
def test_pod_template_limits(template, gpus):
    pod = render(KUBERNETES / template, "train")
    container = pod.spec.containers[0]
    assert container.name == "base"
    assert container.image == "microrec/worker:1.0.0"
    assert container.resources.limits.get("nvidia.com/gpu") == gpus
    assert container.resources.limits["memory"]
    assert pod.spec.security_context.run_as_non_root


@pytest.mark.parametrize("template", ["pod.yaml", "gpu-pod.yaml"])
def test_pod_is_confined_and_writes_where_it_may(template):
    spec = render(KUBERNETES / template, "train").spec
    [container] = spec.containers
    confined = container.security_context
    assert spec.automount_service_account_token is False
    assert spec.security_context.seccomp_profile.type == "RuntimeDefault"
    assert confined.allow_privilege_escalation is False
    assert confined.read_only_root_filesystem is True
    assert confined.capabilities.drop == ["ALL"]
    writable = {mount.mount_path for mount in container.volume_mounts if not mount.read_only}
    assert {"/tmp", "/opt/microrec/airflow", "/opt/microrec/logs", "/dev/shm"} <= writable
    assert {mount.name for mount in container.volume_mounts} <= {volume.name for volume in spec.volumes}


@pytest.mark.parametrize(("queue", "tasks"), [("default", {"train"}), ("gpu", {"train", "extract_image"})])
def test_tasks_of_the_gpu_queue_ask_for_the_gpu_pod_where_the_setting_names_it(monkeypatch, queue, tasks):
    from microrec_nightly import nightly
    from microrec_shops import find_shops

    monkeypatch.setenv("MICROREC_GPU_POD_TEMPLATE", str(KUBERNETES / "gpu-pod.yaml"))
    monkeypatch.setenv("MICROREC_IMAGE_QUEUE", queue)
    dag = nightly(find_shops()[0])
    configs = {task.task_id: task.executor_config for task in dag.tasks if task.executor_config}
    assert configs == {task: {"pod_template_file": str(KUBERNETES / "gpu-pod.yaml")} for task in tasks}
