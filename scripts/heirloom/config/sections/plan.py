"""`plan:` what the plan does with its estimates; never changes a result, so never re-runs a stage."""

from typing import Literal

from pydantic import Field

from heirloom.config.parsing.section import Section


class PlanSection(Section):
    """How strictly the estimates are taken (docs/plan.md)."""

    memory: Literal["error", "warn"] = Field(
        "error", description="a stage that cannot fit its GPUs: error stops before anything is submitted, warn goes on"
    )
    budget: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="SageMaker: the most US dollars, on demand, that the run's stages may be expected to cost",
    )
