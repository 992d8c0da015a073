"""The night: catalogue in, verified release out, champion moved.

- **Starts** at 02:00 UTC, when the assets `microrec_catalogue` and `microrec_interactions` have both been updated, by
  hand, or as a backfill. `[airflow]` in the configuration says otherwise.
- **Identity**: a night is its logical date. Running it again continues it and repeats nothing.
- **Input**: `check_input` pins the tables. If they change before the night has prepared them, clear `check_input` with
  what follows, or `prepare` with what follows: the night begins again on the current input.
- **Unchanged input**: if nothing is new since the champion, the night ends after `prepare` and says so.
  `full_refresh` and a backfill always train.
- **Checks**: a catalogue that has shrunk or emptied since the champion fails `check_input`; `accept_change` lets it
  pass.
- **Order**: an older night never replaces a newer champion, and none replaces one that is held.
- **Refused**: if the gate refuses, `microrec_approval` asks an operator.
- **Failure**: wrong input (exit status 2) and a refusal of the input checks or the gate (3) fail at once; anything else
  is tried again, and training continues from its checkpoint.

Thin on purpose: every task runs one `microrec` command of the ML environment and passes small JSON on.
"""

import os
from datetime import timedelta
from typing import Any

from airflow.sdk import AssetOrTimeSchedule, AsyncCallback, CronTriggerTimetable, DeadlineAlert, Param, dag
from microrec_alerts import deadline_missed, run_failed, run_succeeded, task_failed
from microrec_deadline import usual_runtime
from microrec_settings import AirflowSettings
from microrec_shops import Shop, find_shops
from microrec_stages import (
    ask_approval,
    changes,
    check_input,
    evaluate,
    export,
    extract_image,
    extract_text,
    gate,
    on,
    plan_shards,
    prepare,
    promote,
    refused,
    register,
    summarise,
    train,
)


def params(shop: Shop) -> dict[str, Param]:
    """What a night may be told."""
    return {
        "config": shop.config_param,
        "shards": Param(
            shop.settings.shards, type="integer", minimum=1, maximum=256, description="Extraction tasks per modality."
        ),
        "device": Param("auto", type="string", pattern="^(auto|cpu|cuda(:[0-9]+)?)$", description="Where to train."),
        "sample": Param(
            1.0,
            type="number",
            exclusiveMinimum=0,
            maximum=1,
            description="Share of the users to train on. Below 1 it is a trial night, which is never promoted.",
        ),
        "full_refresh": Param(False, type="boolean", description="Train even if nothing is new since the champion."),
        "accept_change": Param(
            False,
            type="boolean",
            description="Accept for this night an input that differs from the champion's more than [checks] allows.",
        ),
        "promote": Param(True, type="boolean", description="Let the release become champion if the gate allows it."),
        "set": shop.set_param,
    }


def schedule(shop: Shop) -> AssetOrTimeSchedule:
    """By the clock, and by the shop's assets."""
    # A new stack waits for its first night; by default Airflow would begin with the last one, on a catalogue not yet
    # there.
    clock = CronTriggerTimetable(shop.settings.schedule, timezone="UTC", run_immediately=timedelta(0))
    either = shop.settings.start_on == "either"
    assets = shop.catalogue | shop.interactions if either else shop.catalogue & shop.interactions
    return AssetOrTimeSchedule(timetable=clock, assets=assets)


def deadline(settings: AirflowSettings) -> DeadlineAlert:
    """So many hours more than usual."""
    # In Airflow 3.3.2 a run whose deadline counts from `queued_at` cannot be cleared (apache/airflow#70368), and a
    # run without a logical date cannot be created where the deadline counts from that.
    hours = settings.deadline_hours or float(os.environ.get("MICROREC_DEADLINE_HOURS", "1"))
    return DeadlineAlert(
        reference=usual_runtime(), interval=timedelta(hours=hours), callback=AsyncCallback(deadline_missed)
    )


def placed(settings: AirflowSettings) -> dict[str, dict[str, Any]]:
    """Queue, pool and time limit of the tasks that have their own."""
    queue = settings.image_queue or os.environ.get("MICROREC_IMAGE_QUEUE", "default")
    return {
        "extract_image": {**on(queue), "pool": settings.gpu_pool if queue == "gpu" else settings.encode_pool},
        "extract_text": {"pool": settings.encode_pool},
        "train": {
            **on("gpu"),
            "pool": settings.gpu_pool,
            "execution_timeout": timedelta(hours=settings.train_timeout_hours),
        },
        "promote": {"pool": settings.champion_pool},
    }


def nightly(shop: Shop) -> Any:
    """The DAG of a shop."""
    place = placed(shop.settings)

    @dag(
        dag_id=shop.named("microrec_nightly"),
        schedule=schedule(shop),
        catchup=False,
        max_active_runs=1,
        params=params(shop),
        doc_md=shop.doc(__doc__),
        tags=shop.tags,
        deadline=deadline(shop.settings),
        on_success_callback=run_succeeded,
        on_failure_callback=run_failed,
        default_args={
            "owner": "microrec",
            "retries": 5,  # with the pauses below: a server may be away for a quarter of an hour
            "retry_delay": timedelta(seconds=30),
            "retry_exponential_backoff": True,
            "max_retry_delay": timedelta(minutes=10),
            "execution_timeout": timedelta(hours=shop.settings.timeout_hours),
            "on_failure_callback": task_failed,
        },
    )
    def stages() -> None:
        images, texts = plan_shards(check_input())
        extracted = [
            extract_image.override(**place["extract_image"]).expand_kwargs(images),
            extract_text.override(**place["extract_text"]).expand_kwargs(texts),
        ]
        prepared, metrics, asked, registered = prepare(), evaluate(), gate(), register()
        released = export.override(outlets=[shop.release])(metrics)
        promoted = promote.override(outlets=[shop.champion], **place["promote"])(registered, released, metrics)
        trained = train.override(**place["train"])()
        extracted >> prepared >> changes() >> trained >> metrics >> asked >> released >> registered >> promoted
        asked_for = ask_approval(shop.named("microrec_approval"))
        asked >> refused() >> asked_for
        [promoted, asked_for] >> summarise().as_teardown()

    return stages()


for each in find_shops():
    nightly(each)
