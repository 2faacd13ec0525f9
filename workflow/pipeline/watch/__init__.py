"""`make watch`: a page, on this machine alone, of what runs in this clone, what waits, what failed and what it costs.

Nothing here decides or changes anything: it reads work folders, logs, records and the plan.
"""

from pipeline.watch.outlook import outlook
from pipeline.watch.server import serve

__all__ = ["outlook", "serve"]
