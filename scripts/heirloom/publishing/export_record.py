"""Where the result of an export is written: beside it, and where reports of this clone find it."""

from pathlib import Path
from typing import Any

from heirloom.artifacts import new_artifact
from heirloom.json_files import write_json
from heirloom.report.execution_records import EXPORTS, read_exports


def file_beside(export: Path) -> Path:
    """Return the JSON file beside an export's folder."""
    return export.with_name(f"{export.name}.export.json")


def record_result(result: dict[str, Any]) -> None:
    """Keep what was found of an export for reports, in the place of what an earlier one to the same place had."""
    run = result["run"]
    kept = [each for each in read_exports(run) if each["place"] != result["place"]]
    EXPORTS.mkdir(parents=True, exist_ok=True)
    partial = EXPORTS / f".{run}.json.partial"
    write_json(partial, {"exports": [*kept, result]})
    partial.rename(EXPORTS / f"{run}.json")


def write_beside(result: dict[str, Any], export: Path) -> None:
    """Write what was found of an export beside its folder."""
    with new_artifact(file_beside(export)) as file:
        write_json(file, result)
