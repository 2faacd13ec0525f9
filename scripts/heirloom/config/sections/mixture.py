"""`mixture:` a dataset made of other datasets."""

from typing import Literal

from pydantic import Field, field_validator

from heirloom.config.parsing.section import Section


class MixtureSection(Section):
    """Processed datasets of one kind and one tokenizer, mixed by weight."""

    datasets: dict[str, float] = Field(
        min_length=1, description="names in config/datasets/ and their weights; weights are normalised to sum to 1"
    )
    stopping_strategy: Literal["first_exhausted", "all_exhausted"] = Field(
        "all_exhausted",
        description="when to stop: the first dataset is used up; or all are, the short ones repeated",
    )
    seed: int = Field(0, description="seed of the draw")

    @field_validator("datasets")
    @classmethod
    def _positive(cls, datasets: dict[str, float]) -> dict[str, float]:
        wrong = [name for name, weight in datasets.items() if not 0 < weight < float("inf")]
        if wrong:
            raise ValueError(f"the weights of {', '.join(wrong)} must be greater than 0; delete what to leave out")
        return datasets
