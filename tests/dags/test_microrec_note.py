from microrec_note import LONGEST, compose

CHECKS = {
    "verdict": "ok",
    "champion": "night-0",
    "note": "",
    "reasons": [],
    "warnings": ["image: 2 pictures are named but not there", "users: half of them"],
    "num_warnings": 2,
}
METRICS = {"validation": {"recall@20": 0.25, "ndcg@20": 0.125}}
SHARD = {"modality": "image", "contents": 20, "encoded": 7, "encoder_calls": 1}
RESULTS = {
    "run_id": "night-1",
    "extract_image": [SHARD, SHARD, None],
    "extract_text": [],
    "changes": {"champion": "night-0", "digest": "d0", "changes": ["train.seed: 0 then, 1 now"]},
    "train": {"epochs": 5, "best_epoch": 4, "device": "cuda:0"},
    "evaluate": METRICS,
    "export": {"digest": "d1", "counts": {"item_embeddings": 60}},
    "register": {"model_name": "microrec", "model_version": "3"},
    "gate": {"verdict": "passed", "champion": "night-0", "metric": "recall@20", "value": 0.25},
    "promote": {"digest": "d1"},
    "seconds": {"extract_image": [1.5, 2.0, None], "extract_text": [], "train": [10.04], "promote": [None]},
}


def test_compose_whole_night_tells_all_and_fits():
    note = compose(RESULTS)
    for part in (
        "night-1",
        "gate passed, against `night-0`",
        "image: 14 encoded, 6 cached, 2 encoder calls",
        "seconds: extract_image 3.5, train 10.0",
        "d1",
        "0.2500",
        "version 3",
        "cuda:0",
    ):
        assert part in note
    assert note.startswith("- **promoted**\n")
    assert "text:" not in note
    assert len(note) <= LONGEST


def test_compose_unchanged_night_says_so():
    note = compose({"run_id": "night-2", "changes": {"champion": "night-1", "digest": "d1", "changes": []}})
    assert "input unchanged" in note
    assert "d1" in note
    assert "not promoted" in note


def test_compose_night_that_failed_early_gives_what_there_is():
    assert compose({"run_id": "night-3"}) == "- not promoted\n- run `night-3`"


def test_compose_night_that_the_gate_refused_says_that_an_approval_waits():
    note = compose({"run_id": "night-4", "refused": {"reason": "recall@20 fell by a tenth"}})
    assert note.startswith("- **refused**, waits for an approval: recall@20 fell by a tenth\n")


def test_compose_night_beside_a_held_champion_says_why_it_is_not_promoted():
    note = compose({"run_id": "night-5", "stays": "the champion is held"})
    assert note.startswith("- not promoted: the champion is held\n")


def test_compose_input_as_before_gives_verdict_and_warnings():
    note = compose({"run_id": "night-1", "checks": CHECKS})
    assert note.splitlines() == [
        "- not promoted",
        "- run `night-1`",
        "- input ok, compared with `night-0`",
        "- warning: image: 2 pictures are named but not there",
        "- warning: users: half of them",
    ]


def test_compose_refused_input_gives_the_rows_that_were_refused():
    reasons = [f"{name}: 577 then, 144 now (allowed: at least 520)" for name in "abcdef"]
    note = compose({"run_id": "night-1", "checks": {**CHECKS, "verdict": "refused", "reasons": reasons}})
    assert "- input **refused**, compared with `night-0`\n- a: 577 then, 144 now (allowed: at least 520)\n" in note
    assert "\n- and 2 more of the input's checks\n" in note
    first = "- **refused** by the checks of the input: a: 577 then, 144 now (allowed: at least 520)"
    assert note.splitlines()[0] == first


def test_compose_first_night_says_that_there_is_no_champion():
    first = {**CHECKS, "champion": None, "note": "there is no champion to compare with"}
    assert "- input ok, there is no champion to compare with\n" in compose({"run_id": "night-1", "checks": first})


def test_compose_many_long_warnings_fit_and_leave_the_outcome():
    long = {**CHECKS, "verdict": "accepted", "reasons": ["r" * 200] * 9, "warnings": ["w" * 200] * 3, "num_warnings": 8}
    note = compose({**RESULTS, "checks": long})
    assert len(note) <= LONGEST
    assert "\n- and 5 more warnings\n" in note
    assert note.startswith("- **promoted**\n")
