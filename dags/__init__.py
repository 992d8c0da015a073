"""The DAGs. Airflow puts its DAGs folder on the path, so modules here import one another by their plain names."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent))
