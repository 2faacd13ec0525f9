"""`lm_eval:` scores on tasks of the lm-evaluation-harness: its own, or tasks that lie in the project."""

from collections.abc import Iterator

from pydantic import Field

from heirloom.config.arguments.attention import MEANING
from heirloom.config.arguments.harness_tasks import problem_of, tasks_of
from heirloom.config.parsing.section import Section


class LmEvalSection(Section):
    """Which tasks, under the harness's own names."""

    tasks: list[str] = Field(min_length=1, description="tasks or groups: the harness's own, or those of `include_path`")
    include_path: str | None = Field(
        None,
        description="folder in the project with the tasks' YAML files and all they read; absent: the harness's own",
    )
    datasets: list[str] | None = Field(
        None, min_length=1, description="files in config/datasets/ that bring the rows of the harness's own tasks"
    )
    nltk_data: str | None = Field(
        None, description="folder in the project with tokenizers/punkt_tab of nltk, which ifeval splits sentences with"
    )
    base: bool = Field(False, description="the base's scores beside, and the change: its run has the same `lm_eval:`")
    num_fewshot: int | None = Field(None, ge=0, description="examples before each question; absent: as the task says")
    limit: int | None = Field(None, ge=1, description="only the first so many rows of each task; absent: all")
    batch_size: int = Field(8, ge=1, description="sequences a forward pass")
    attn_implementation: str | None = Field(None, description=f"{MEANING}as the run was trained")
    apply_chat_template: bool = Field(False, description="put each question into the tokenizer's chat template")

    @property
    def asked(self) -> dict[str, object]:
        """What decides the questions, and with a checkpoint the scores."""
        return self.model_dump(exclude={"base", "batch_size", "attn_implementation"})

    def rules(self) -> Iterator[tuple[str, str]]:
        yield from super().rules()
        if self.include_path is not None:
            for key in ("datasets", "nltk_data"):
                if getattr(self, key) is not None:
                    yield (
                        key,
                        "has no effect with include_path, whose tasks bring all that they read; delete one of them",
                    )
            return
        problems = {name: problem_of(name) for name in self.tasks}
        yield from (("tasks", problem) for problem in problems.values() if problem)
        if any(problems.values()):
            return
        needing = [name for name in self.tasks if any(task.needs for task in tasks_of(name).values())]
        if needing and self.nltk_data is None:
            yield (
                "nltk_data",
                f"is missing: {needing[0]} splits sentences by nltk's punkt_tab, which stages do not fetch; put it "
                "into the project by `python -m nltk.downloader -d config/nltk_data punkt_tab`, and name that folder",
            )
        elif self.nltk_data is not None and not needing:
            yield "nltk_data", "has no effect: none of the tasks needs it; delete it"
        if self.datasets is None:
            yield "datasets", "is missing; name the files in config/datasets/ that bring the rows of the tasks"
