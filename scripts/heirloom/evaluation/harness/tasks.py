"""Tasks of the lm-evaluation-harness with all that they read: its own, or those that lie in one folder of the project.

Such a folder, or the raw datasets of the harness's own tasks, are inputs of the stage, so what a task reads from
elsewhere would change without the stage becoming stale.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heirloom.config.arguments.harness_tasks import problem_of, tasks_of
from heirloom.config.keys.benchmarks import PUNKT
from heirloom.config.sections.lm_eval import LmEvalSection
from heirloom.errors import HeirloomError
from heirloom.evaluation.harness.rows import read_rows_from
from heirloom.stage import declare_user_code

if TYPE_CHECKING:
    from lm_eval.tasks import TaskManager

LOCAL_FORMATS = ("json", "csv", "parquet", "arrow", "text")
"""The builders of `datasets` that read given files."""


def load_tasks(section: LmEvalSection, data: Sequence[Path] = ()) -> "TaskManager":
    """Return the harness's index of the tasks that the section may name; `data` are folders of raw datasets.

    From then on the harness's own tasks read their rows from there. Raises HeirloomError when the harness is not
    installed, a task is not there, or one reads from elsewhere.
    """
    try:
        from lm_eval.tasks import TaskManager
    except ModuleNotFoundError as error:
        raise HeirloomError(
            f"lm_eval: the lm-evaluation-harness is not installed ({error}): `make setup-harness`"
        ) from error
    if section.include_path is not None:
        return project_tasks(TaskManager, section.tasks, Path(section.include_path))
    return standard_tasks(TaskManager, section, data)


def project_tasks(manager_class: "type[TaskManager]", names: Sequence[str], folder: Path) -> "TaskManager":
    """Return the index of the tasks in a folder, without those that the harness brings along. Raises HeirloomError."""
    if not folder.is_dir():
        raise HeirloomError(f"lm_eval.include_path: there is no folder {folder}")
    for file in folder.rglob("*.py"):
        declare_user_code(file)
    manager = manager_class(include_path=str(folder), include_defaults=False)
    for name in names:
        if name not in manager.all_tasks:
            known = ", ".join(sorted(manager.all_tasks)) or "no task"
            raise HeirloomError(f"lm_eval.tasks: there is no task {name} in {folder}, which holds {known}")
    for name in manager.all_subtasks:
        check_local(name, manager.task_index[name].cfg, folder)
    return manager


def standard_tasks(manager_class: "type[TaskManager]", section: LmEvalSection, data: Sequence[Path]) -> "TaskManager":
    """Return the index of the harness's own tasks of the families that the section names. Raises HeirloomError.

    Only their folders are looked through: all 13,000 tasks would take a rank ten seconds.
    """
    from lm_eval import tasks

    for name in section.tasks:
        if problem := problem_of(name):
            raise HeirloomError(f"lm_eval.tasks: {problem}")
    if section.nltk_data is not None:
        let_nltk_read(Path(section.nltk_data))
    read_rows_from(data)
    home = Path(tasks.__file__).parent
    folders = sorted({task.folder for name in section.tasks for task in tasks_of(name).values()})
    return manager_class(include_path=[str(home / folder) for folder in folders], include_defaults=False)


def let_nltk_read(folder: Path) -> None:
    """Let nltk find its data in a folder and nowhere else, so that it fetches none. Raises HeirloomError."""
    if not (folder / PUNKT).is_dir():
        raise HeirloomError(
            f"lm_eval.nltk_data: there is no {folder / PUNKT}: `python -m nltk.downloader -d {folder} punkt_tab`"
        )
    import nltk

    nltk.data.path[:] = [str(folder.resolve())]


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
