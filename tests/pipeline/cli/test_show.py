"""What `run` prints of its metrics: tables that a person reads."""

import io
from types import SimpleNamespace

from pipeline.cli.show import show_run
from pipeline.dataset.records import SHOWN_METRICS, Evaluation, ItemQuality
from pipeline.terminal import Terminal

RANKED = {**dict.fromkeys(SHOWN_METRICS, 0.25), "users": 12.0}


def printed(metrics):
    mlflow = SimpleNamespace(model_name="microrec", model_version="1", alias="champion")
    facts = dict.fromkeys(("run_id", "digest", "release", "report"), "x")
    summary = SimpleNamespace(
        metrics=metrics, verdict=None, mlflow=mlflow, held=None, seconds={}, peak_memory_bytes=0, **facts
    )
    text = io.StringIO()
    show_run(summary, Terminal(file=text, width=200))
    return text.getvalue()


def test_show_run_new_items_among_all_stand_beside_those_among_themselves():
    text = printed(Evaluation(test=RANKED, cold=RANKED, cold_open={**RANKED, "recall@20": 0.0009}))
    assert "test, new items among themselves  test, new items among all" in text
    assert "0.0009" in next(line for line in text.splitlines() if line.startswith("recall@20"))


def test_show_run_new_and_similar_items_beside_content_alone():
    new, alone = ({"items": 3.0, "catalogue_share": 0.3, "slot_share@20": share} for share in (0.001, 0.2))
    text = printed(
        Evaluation(
            test=RANKED,
            new_items=new,
            warm={"recall@20": 0.1853},
            warm_alone={"recall@20": 0.1855},
            similar_items={"same_kind@10": 0.41, "co_purchases@10": 0.031},
            yardsticks={"text": ItemQuality(new_items=alone, similar_items={"same_kind@10": 0.8})},
        )
    )
    lines = [" ".join(line.split()) for line in text.splitlines()]
    for line in (
        "new items places in the top 20",
        "learned vectors 0.10 %",
        "text alone 20.0 %",
        "share of the catalogue 30.0 %",
        "similar items same kind co-purchases found",
        "learned vectors 41.0 % 3.1 %",
        "text alone 80.0 % –",
    ):
        assert line in lines
    assert "0.1853 with the new ones in the contest, 0.1855 without them" in text


def test_show_run_of_an_earlier_version_shows_what_it_has():
    text = printed(Evaluation(test=RANKED))
    assert "new items" not in text
    assert "similar items" not in text
