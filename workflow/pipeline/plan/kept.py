"""What a plan expected of the stages that were submitted, kept on this machine until they are billed."""

import json
import time
from pathlib import Path

from heirloom.report.execution_records import ESTIMATES
from pipeline.plan.quotation import Quotation


def keep_estimates(found: Quotation, folder: Path = ESTIMATES) -> None:
    """Write what each stage is expected to take, before it is submitted; of a stage that was there before the new one.

    Stages without an estimate of time have none kept, and an earlier one is deleted.
    """
    folder.mkdir(parents=True, exist_ok=True)
    quoted = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    for quote in found.quotes:
        file = folder / f"{quote.stage.name}.json"
        if quote.duration is None:
            file.unlink(missing_ok=True)
            continue
        seconds = {key: round(getattr(quote.duration, key), 1) for key in ("low", "expected", "high")}
        content = {"quoted": quoted, "seconds": seconds, "count": quote.hosts.count, "usd": quote.dollars}
        file.write_text(json.dumps(content) + "\n", encoding="utf-8")
