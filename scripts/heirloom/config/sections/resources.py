"""`resources:` the machines of a run's stages; never changes a result, so never re-runs a stage."""

import re
from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from heirloom.config.parsing.section import Section

LONGEST_RUN = 28 * 86400
"""SageMaker ends every training job after so many seconds."""
LONGEST_WARM = 21600
LEAST_PENDING = 1800
MOST_RETRIES = 30
TRAINING_PLAN = r"^arn:aws[a-z-]*:sagemaker:[a-z0-9-]*:[0-9]{12}:training-plan/.+$"
ACCELERATED = ("ml.p", "ml.g", "ml.trn")
"""Beginnings of the instance types of which SageMaker heeds MaxPendingTimeInSeconds."""
TAG = r"[\w .:/+@-]"
"""A character of a tag's key or value, but for the `=` that a value may have: Snakemake carries tags as KEY=VALUE,…"""


StageOfRun = Literal["training", "generation", "evaluation"]


class Machines(Section):
    """Machines for remote jobs, SageMaker's or Slurm's; here, at home, `gpus_per_node` alone counts."""

    instance_type: str | list[str] | None = Field(
        None, description="SageMaker instance type, e.g. ml.p4d.24xlarge; of a list the next where there is no capacity"
    )
    instance_count: int | None = Field(None, ge=1, description="number of instances; absent: 1")
    volume_size: int | None = Field(None, ge=1, description="disk of an instance, GB")
    image: str | None = Field(None, description="SageMaker: image of the job; absent: the profile's")
    max_runtime: int | None = Field(
        None, ge=1, le=LONGEST_RUN, description="SageMaker: time limit of the job, seconds; absent: the profile's"
    )
    max_pending: int | None = Field(
        None,
        ge=LEAST_PENDING,
        le=LONGEST_RUN,
        description="SageMaker: seconds that a job may wait for machines with accelerators",
    )
    maximum_retry_attempts: int | None = Field(
        None,
        ge=0,
        le=MOST_RETRIES,
        description="SageMaker: how often it starts a job again after its own errors",
    )
    infra_check: bool | None = Field(None, description="SageMaker: look at GPUs and network before the job starts")
    training_plan_arn: str | None = Field(
        None, pattern=TRAINING_PLAN, description="SageMaker: training plan whose reserved machines the job runs on"
    )
    spot: bool | None = Field(None, description="SageMaker: spot capacity; absent: the profile's, else on demand")
    max_wait: int | None = Field(
        None, ge=1, description="spot: limit of waiting and running together, seconds; absent: twice max_runtime"
    )
    keep_alive: int | None = Field(
        None,
        ge=0,
        le=LONGEST_WARM,
        description="SageMaker: seconds that instances wait, paid, for the next job (warm pool)",
    )
    efa: bool | None = Field(None, description="SageMaker: NCCL over the Elastic Fabric Adapter; p4d, p5, …")
    tags: dict[str, str] | None = Field(None, description="SageMaker: tags of the job")
    slurm_partition: str | None = Field(None, description="Slurm partition; absent: the profile's, else the cluster's")
    slurm_account: str | None = Field(None, description="Slurm account; absent: the profile's, else the user's own")
    nodes: int | None = Field(None, ge=1, description="number of Slurm nodes; absent: the profile's, else 1")
    gpus_per_node: int | None = Field(
        None,
        ge=0,
        description="GPUs of a stage on each machine: here so many of those that there are, so that others can have "
        "the rest, absent: all; Slurm: of each node, absent: the profile's; SageMaker: the instance_type decides",
    )
    cpus_per_task: int | None = Field(None, ge=1, description="CPU cores of each Slurm node; absent: the profile's")
    mem_mb: int | None = Field(
        None,
        ge=1,
        description="main memory, MB; Slurm: of each node, absent: the profile's; here: of the stage; stages run "
        "side by side as long as their sum fits into this machine's, absent: not counted",
    )
    runtime: int | None = Field(None, ge=1, description="time limit of a Slurm job, minutes; absent: the profile's")

    @property
    def instance_types(self) -> list[str]:
        """The instance types, the preferred first; none where the profile's is taken."""
        given = self.instance_type
        return [given] if isinstance(given, str) else list(given or ())

    def of_one_process(self) -> "Machines":
        """Return the same for a stage that is one process: one machine, and of its GPUs one where it can be asked for.

        SageMaker's machines give a job all that they have.
        """
        gpus = None if self.instance_type or not self.gpus_per_node else 1
        return self.model_copy(update={"instance_count": None, "nodes": None, "efa": None, "gpus_per_node": gpus})


class ResourcesSection(Machines):
    """Machines for training (and other ones for generation and evaluation, where given); the data loader's effort."""

    generation: Machines | None = Field(None, description="machines for the generation stage, key by key")
    evaluation: Machines | None = Field(None, description="machines for the evaluation stage, key by key")
    dataloader_num_workers: int = Field(0, ge=0, description="processes a rank that load batches; 0: none of their own")
    dataloader_pin_memory: bool | None = Field(None, description="pin batches in memory; absent: on a GPU machine")
    dataloader_persistent_workers: bool = Field(False, description="keep the workers between epochs")
    dataloader_prefetch_factor: int | None = Field(None, ge=1, description="batches that each worker loads ahead")
    ddp_timeout: int = Field(1800, ge=1, description="longest wait of a rank for the others, seconds")

    def rules(self) -> Iterator[tuple[str, str]]:
        stages: list[StageOfRun] = ["training", "generation", "evaluation"]
        yield from dict.fromkeys(broken for stage in stages for broken in self.contradictions(stage))
        for section in filter(None, (self, self.generation, self.evaluation)):
            for key, value in (section.tags or {}).items():
                if not re.fullmatch(f"{TAG}{{1,128}}", key) or not re.fullmatch(f"({TAG}|=){{0,256}}", value):
                    yield "tags", f"{key}: SageMaker's tags are letters, digits, spaces and . : / + - @ _ (no comma)"

    def contradictions(self, stage: StageOfRun) -> Iterator[tuple[str, str]]:
        """Yield (key, problem) for keys that cannot stand together on the machines of a stage."""
        machines = self.machines(stage)

        def blamed(key: str) -> str:
            return key if getattr(self, key) is not None else stage

        if machines.max_wait is not None and not machines.spot:
            yield blamed("max_wait"), "max_wait limits the wait for spot capacity: add `spot: true`, or remove it"
        elif machines.max_wait is not None and machines.max_wait < (machines.max_runtime or 0):
            yield blamed("max_wait"), f"must be at least max_runtime ({machines.max_runtime}), which is a part of it"
        if machines.keep_alive and machines.spot:
            yield blamed("keep_alive"), "spot capacity knows no warm pools: remove keep_alive or spot"
        types = machines.instance_types
        if machines.max_pending is not None and not all(name.startswith(ACCELERATED) for name in types):
            yield (
                blamed("max_pending"),
                f"SageMaker heeds max_pending for machines with accelerators alone (ml.p, ml.g, ml.trn), and "
                f"instance_type is {', '.join(types)}: remove it",
            )
        if machines.training_plan_arn and machines.spot:
            yield blamed("training_plan_arn"), "a plan's machines are reserved, no spot capacity: remove one of the two"
        if machines.training_plan_arn and len(types) > 1:
            yield blamed("training_plan_arn"), "a plan's machines are of one type: let instance_type name that one"
        if isinstance(machines.instance_type, list) and (not types or len(set(types)) < len(types)):
            yield blamed("instance_type"), "expected one instance type or more, each once"

    def machines(self, stage: StageOfRun) -> Machines:
        """Return the machines of one stage of the run: its own keys, else the common ones.

        What the others say of spot capacity is not said of a stage that has another kind, nor what they say of
        reserved and accelerated machines of one that has machines of its own.
        """
        own = getattr(self, stage, None) or Machines()
        others = {False: ["max_wait"], True: ["keep_alive", "training_plan_arn"]}.get(own.spot, [])
        if own.instance_type is not None:
            others = [*others, "training_plan_arn", "max_pending"]
        common = {key: getattr(self, key) for key in Machines.model_fields if key not in others}
        return Machines(**common | own.model_dump(exclude_none=True))

    @property
    def arguments(self) -> dict[str, object]:
        """The keys of transformers.TrainingArguments among these; absent ones are left to transformers."""
        keys = [key for key in type(self).model_fields if key.startswith("dataloader_") or key == "ddp_timeout"]
        return {key: getattr(self, key) for key in keys if getattr(self, key) is not None}


class PlanSection(Section):
    """How strictly the estimates are taken (docs/plan.md)."""

    memory: Literal["error", "warn"] = Field(
        "error", description="a stage that cannot fit its GPUs: error stops before anything is submitted, warn goes on"
    )
    budget: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="the most US dollars, on demand, that the run's stages may be expected to cost",
    )
