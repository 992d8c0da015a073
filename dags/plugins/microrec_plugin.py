"""Makes the scheduler know the deadline's reference; `core.plugins_folder` names this folder."""

from airflow.plugins_manager import AirflowPlugin
from microrec_deadline import TrainedRuntime


class MicrorecPlugin(AirflowPlugin):
    """What microrec adds to Airflow."""

    name = "microrec"
    deadline_references = (TrainedRuntime,)
