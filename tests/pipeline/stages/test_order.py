"""The main job: whether it promotes, and what it says where it does not."""

import io

from pipeline.cli.show import show_run
from pipeline.opening import open_run
from pipeline.registry.promotion import rollback
from pipeline.stages.order import run_all
from pipeline.terminal import Terminal
from tests.pipeline.release_factory import quiet
from tests.pipeline.tiny import make_tiny


def test_run_all_after_a_rollback_registers_and_does_not_promote_and_says_so(tmp_path):
    config = make_tiny(tmp_path, gate={"metric": "none"})
    store = config.open_store()
    for run_id in ("good", "bad"):
        assert run_all(open_run(config, run_id, quiet())).mlflow.alias == "champion"
    rollback(store, config.open_tracking(), quiet(), "half a catalogue")
    night = run_all(open_run(config, "next", quiet()))
    assert (night.mlflow.alias, night.gate, night.held.reason) == (None, None, "half a catalogue")
    assert (night.mlflow.model_version, config.open_tracking().champion()) == ("3", "1")
    assert (store.release("next") / "_SUCCESS").exists()
    told = io.StringIO()
    show_run(night, Terminal(file=told))
    assert "not promoted" in told.getvalue()
    assert "held       half a catalogue, since 20" in told.getvalue()
