"""`resources:` the machines of a run's stages; never changes a result, so never re-runs a stage."""

from typing import Literal

from pydantic import Field

from heirloom.config.section import Section


class Machines(Section):
    """Machines for remote jobs, SageMaker's or Slurm's; here, at home, the launcher takes what it finds."""

    instance_type: str | None = Field(None, description="SageMaker instance type, e.g. ml.p4d.24xlarge")
    instance_count: int | None = Field(None, ge=1, description="number of instances; absent: 1")
    volume_size: int | None = Field(None, ge=1, description="disk of an instance, GB")
    slurm_partition: str | None = Field(None, description="Slurm partition; absent: the profile's, else the cluster's")
    slurm_account: str | None = Field(None, description="Slurm account; absent: the profile's, else the user's own")
    nodes: int | None = Field(None, ge=1, description="number of Slurm nodes; absent: the profile's, else 1")
    gpus_per_node: int | None = Field(None, ge=0, description="GPUs of each Slurm node; absent: the profile's")
    cpus_per_task: int | None = Field(None, ge=1, description="CPU cores of each Slurm node; absent: the profile's")
    mem_mb: int | None = Field(None, ge=1, description="memory of each Slurm node, MB; absent: the profile's")
    runtime: int | None = Field(None, ge=1, description="time limit of a Slurm job, minutes; absent: the profile's")


class ResourcesSection(Machines):
    """Machines for training (and other ones for generation and evaluation, where given); the data loader's effort."""

    generation: Machines | None = Field(None, description="machines for the generation stage, key by key")
    evaluation: Machines | None = Field(None, description="machines for the evaluation stage, key by key")
    dataloader_num_workers: int = Field(0, ge=0, description="processes a rank that load batches; 0: none of their own")
    dataloader_pin_memory: bool | None = Field(None, description="pin batches in memory; absent: on a GPU machine")
    dataloader_persistent_workers: bool = Field(False, description="keep the workers between epochs")
    dataloader_prefetch_factor: int | None = Field(None, ge=1, description="batches that each worker loads ahead")
    ddp_timeout: int = Field(1800, ge=1, description="longest wait of a rank for the others, seconds")

    def machines(self, stage: Literal["training", "generation", "evaluation"]) -> Machines:
        """Return the machines of one stage of the run: its own keys, else the common ones."""
        own = getattr(self, stage, None) or Machines()
        keys = Machines.model_fields
        return Machines(**{key: getattr(self, key) if getattr(own, key) is None else getattr(own, key) for key in keys})

    @property
    def arguments(self) -> dict[str, object]:
        """The keys of transformers.TrainingArguments among these; absent ones are left to transformers."""
        keys = [key for key in type(self).model_fields if key.startswith("dataloader_") or key == "ddp_timeout"]
        return {key: getattr(self, key) for key in keys if getattr(self, key) is not None}
