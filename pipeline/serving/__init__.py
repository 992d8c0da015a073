"""What consumers load: the model that MLflow serves, lookups, vectors of new items, the copy in PostgreSQL.

What enters here reads a release; `ranker.py` travels inside the registered model and imports nothing of this program.
`load_champion` is the one function that is public.
"""

from pipeline.serving.champion import Loaded, load_champion

__all__ = ["Loaded", "load_champion"]
