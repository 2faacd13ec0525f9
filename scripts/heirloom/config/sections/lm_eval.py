"""`lm_eval:` scores on tasks of the lm-evaluation-harness that lie in the project."""

from pydantic import Field

from heirloom.config.arguments.attention import MEANING
from heirloom.config.parsing.section import Section


class LmEvalSection(Section):
    """Which tasks, under the harness's own names."""

    include_path: str = Field(description="folder in the project with the tasks' YAML files and all that they read")
    tasks: list[str] = Field(min_length=1, description="tasks or groups of that folder")
    num_fewshot: int | None = Field(None, ge=0, description="examples before each question; absent: as the task says")
    limit: int | None = Field(None, ge=1, description="only the first so many rows of each task; absent: all")
    batch_size: int = Field(8, ge=1, description="sequences a forward pass")
    attn_implementation: str | None = Field(None, description=f"{MEANING}as the run was trained")
    apply_chat_template: bool = Field(False, description="put each question into the tokenizer's chat template")
