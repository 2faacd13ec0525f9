"""What a plan expected of the stages that were submitted, kept on this machine until they are billed."""

import json
import sys
import time
from pathlib import Path

from heirloom.report.execution_records import ESTIMATES
from pipeline.plan.quotation import Quotation, Quote


def keep_estimates(found: Quotation, folder: Path = ESTIMATES) -> None:
    """Write what each stage is expected to take, before it is submitted; of a stage that was there before the new one.

    Stages without an estimate of time have none kept, and an earlier one is deleted. Where nothing can be written, a
    sentence on stderr says so, and the submission goes on.
    """
    quoted = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for quote in found.quotes:
            keep(quote, quoted, folder)
    except OSError as error:
        print(
            f"warning: {folder} cannot be written ({error.strerror or error}): what some of these stages take will "
            "stand beside no estimate, or an earlier one; make room there, or give this user the right to write",
            file=sys.stderr,
        )


def keep(quote: Quote, quoted: str, folder: Path) -> None:
    """Write the estimate of one stage, whole or not at all."""
    file = folder / f"{quote.stage.name}.json"
    if quote.duration is None:
        file.unlink(missing_ok=True)
        return
    seconds = {key: round(getattr(quote.duration, key), 1) for key in ("low", "expected", "high")}
    content = {"quoted": quoted, "seconds": seconds, "count": quote.hosts.count, "usd": quote.dollars}
    partial = folder / f".{file.name}.partial"
    partial.write_text(json.dumps(content) + "\n", encoding="utf-8")
    partial.replace(file)
