"""The assets that tie DAGs together: what a night waits for, and what it announces."""

from airflow.sdk import Asset

CATALOGUE = Asset(name="microrec_catalogue", uri="x-microrec://catalogue")
INTERACTIONS = Asset(name="microrec_interactions", uri="x-microrec://interactions")
"""Whoever writes the catalogue or the interactions names these as outlets, or posts an event: a night begins."""

RELEASE = Asset(name="microrec_release", uri="x-microrec://release")
CHAMPION = Asset(name="microrec_champion", uri="x-microrec://champion")
"""Their events carry `run_id`, `release`, `digest`, `counts` and `metrics`."""
