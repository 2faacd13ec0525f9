"""Tasks of the lm-evaluation-harness that lie in one folder of the project, with all that they read.

The folder is an input of the stage, so what a task reads from elsewhere would change without the stage becoming stale.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from heirloom.config.sections.lm_eval import LmEvalSection
from heirloom.errors import HeirloomError
from heirloom.stage import declare_user_code

if TYPE_CHECKING:
    from lm_eval.tasks import TaskManager

LOCAL_FORMATS = ("json", "csv", "parquet", "arrow", "text")
"""The builders of `datasets` that read given files."""


def load_tasks(section: LmEvalSection) -> "TaskManager":
    """Return the harness's index of the folder's tasks, without those that the harness brings along.

    Raises HeirloomError when the harness is not installed, a task is not there, or one in the folder reads from
    elsewhere.
    """
    try:
        from lm_eval.tasks import TaskManager
    except ModuleNotFoundError as error:
        raise HeirloomError(
            f"lm_eval: the lm-evaluation-harness is not installed ({error}): `make setup-harness`"
        ) from error
    folder = Path(section.include_path)
    if not folder.is_dir():
        raise HeirloomError(f"lm_eval.include_path: there is no folder {folder}")
    for file in folder.rglob("*.py"):
        declare_user_code(file)
    manager = TaskManager(include_path=str(folder), include_defaults=False)
    for name in section.tasks:
        if name not in manager.all_tasks:
            known = ", ".join(sorted(manager.all_tasks)) or "no task"
            raise HeirloomError(f"lm_eval.tasks: there is no task {name} in {folder}, which holds {known}")
    for name in manager.all_subtasks:
        check_local(name, manager.task_index[name].cfg, folder)
    return manager


def check_local(name: str, task: dict[str, Any], folder: Path) -> None:
    """Raise HeirloomError when the data of a task, given as its file says, lie outside `folder`."""
    source, files = task.get("dataset_path"), (task.get("dataset_kwargs") or {}).get("data_files")
    parts = files.values() if isinstance(files, dict) else [files]
    paths = [path for part in parts for path in (part if isinstance(part, list) else [part])]
    inside = all(path is not None and folder.resolve() in Path(path).resolve().parents for path in paths)
    if source not in LOCAL_FORMATS or not inside:
        raise HeirloomError(
            f"lm_eval.tasks: {name} reads {source} {files or ''}, and an edit there would not be noticed: "
            f"let it have dataset_path: {' | '.join(LOCAL_FORMATS)} and dataset_kwargs.data_files in {folder}/"
        )


def scores_of(results: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Return each task's numbers under the harness's names, without the filter where there is none: acc, acc_stderr."""
    return {
        task: {key.removesuffix(",none"): value for key, value in found.items() if isinstance(value, int | float)}
        for task, found in results["results"].items()
    }
