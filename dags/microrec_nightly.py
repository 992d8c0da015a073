"""The night: catalogue in, verified release out, champion moved.

- **Starts** at 02:00 UTC, when the assets `microrec_catalogue` or `microrec_interactions` are updated, by hand, or as
  a backfill.
- **Identity**: a night is its logical date. Running it again continues it and repeats nothing.
- **Unchanged input**: where nothing is new since the champion, the night ends after `prepare` and says so;
  `full_refresh` trains all the same, and so does a backfill, which was asked for.
- **Order**: an older night never replaces a newer champion.
- **Input**: a catalogue that has shrunk or emptied since the champion fails `check_input`; `accept_change` lets it
  pass.
- **Failure**: wrong input (exit status 2) and a refusal of the input checks or the gate (3) fail at once; anything else
  is tried again, and training continues from its checkpoint.

Thin on purpose: every task runs one `microrec` command of the ML environment and passes small JSON on.
"""

import os
from datetime import timedelta

from airflow.sdk import (
    AssetOrTimeSchedule,
    AsyncCallback,
    CronTriggerTimetable,
    DeadlineAlert,
    DeadlineReference,
    Param,
    dag,
)
from microrec_alerts import deadline_missed, run_failed, run_succeeded, task_failed
from microrec_assets import CATALOGUE, INTERACTIONS
from microrec_stages import (
    changes,
    check_input,
    evaluate,
    export,
    extract_image,
    extract_text,
    gate,
    plan_shards,
    prepare,
    promote,
    register,
    summarise,
    train,
)

# A new stack waits for its first night; by default Airflow would begin with the last one, on a catalogue not yet there.
AT_TWO = CronTriggerTimetable("0 2 * * *", timezone="UTC", run_immediately=timedelta(0))

PARAMS = {
    "config": Param(
        os.environ.get("MICROREC_CONFIG", "microrec.toml"), type="string", description="Configuration file (TOML)."
    ),
    "shards": Param(2, type="integer", minimum=1, maximum=256, description="Extraction tasks per modality."),
    "device": Param("auto", type="string", pattern="^(auto|cpu|cuda(:[0-9]+)?)$", description="Where to train."),
    "sample": Param(
        1.0,
        type="number",
        exclusiveMinimum=0,
        maximum=1,
        description="Share of the users to train on: a trial night, which is never promoted, where it is below 1.",
    ),
    "full_refresh": Param(False, type="boolean", description="Train even if nothing is new since the champion."),
    "accept_change": Param(
        False,
        type="boolean",
        description="Accept for this night an input that differs from the champion's more than [checks] allows.",
    ),
    "promote": Param(True, type="boolean", description="Let the release become champion if the gate allows it."),
    "set": Param(
        [],
        type="array",
        items={"type": "string"},
        description="Overrides, section.key=value; {ds} stands for the night's date.",
    ),
}


@dag(
    schedule=AssetOrTimeSchedule(timetable=AT_TWO, assets=(CATALOGUE | INTERACTIONS)),
    catchup=False,
    max_active_runs=1,
    params=PARAMS,
    doc_md=__doc__,
    tags=["microrec"],
    deadline=DeadlineAlert(
        # In Airflow 3.3.2 a run whose deadline counts from `queued_at` cannot be cleared (apache/airflow#70368), and a
        # run without a logical date cannot be created where the deadline counts from that.
        reference=DeadlineReference.AVERAGE_RUNTIME(max_runs=10, min_runs=1),
        interval=timedelta(hours=float(os.environ.get("MICROREC_DEADLINE_HOURS", "1"))),
        callback=AsyncCallback(deadline_missed),
    ),
    on_success_callback=run_succeeded,
    on_failure_callback=run_failed,
    default_args={
        "owner": "microrec",
        "retries": 5,  # with the pauses below: a server may be away for a quarter of an hour
        "retry_delay": timedelta(seconds=30),
        "retry_exponential_backoff": True,
        "max_retry_delay": timedelta(minutes=10),
        "execution_timeout": timedelta(hours=2),
        "on_failure_callback": task_failed,
    },
)
def microrec_nightly() -> None:
    """The stages in order."""
    images, texts = plan_shards(check_input())
    extracted = [extract_image.expand_kwargs(images), extract_text.expand_kwargs(texts)]
    prepared, metrics, registered = prepare(), evaluate(), register()
    released = export(metrics)
    promoted = promote(registered, released, metrics)
    extracted >> prepared >> changes() >> train() >> metrics >> gate() >> released >> registered >> promoted
    promoted >> summarise().as_teardown()


microrec_nightly()
