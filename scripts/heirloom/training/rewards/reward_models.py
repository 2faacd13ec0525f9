"""Reward models as rewards: what a run with `trainer: reward` gives to answers, as the metric `reward` has it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from heirloom.distributed import on_cpu
from heirloom.errors import HeirloomError
from heirloom.evaluation.likelihoods.log_likelihood import check_rows
from heirloom.evaluation.rewards.answer_rewards import closed_ids
from heirloom.evaluation.rewards.reward_model import check_finite, padding_of, rewards_of
from heirloom.models.batches import in_halves
from heirloom.models.language_models import longest_text
from heirloom.models.model_facts import read_facts
from heirloom.models.trained_checkpoints import check_checkpoint, load_config, load_model, load_tokenizer
from heirloom.training.rewards.functions import RewardFunction, Row


def reward_models(folders: Mapping[str, Path], batch_size: int) -> dict[str, RewardFunction]:
    """Return for each run the function by which its reward model scores rows, `batch_size` at a time.

    Each rank holds the whole model, on its own device, and scores its own rows: load them before DeepSpeed's arguments
    are made, as ZeRO-3 would shard them. Raises HeirloomError as `load_model` does.
    """
    return {name: RewardModel(folder, batch_size) for name, folder in folders.items()}


class RewardModel:
    """A reward model that scores rows where it stands: on no other rank, and without learning."""

    def __init__(self, checkpoint: Path, batch_size: int) -> None:
        check_checkpoint(checkpoint)
        device = torch.device("cpu") if on_cpu() else torch.device("cuda", torch.cuda.current_device())
        self.checkpoint, self.batch_size = checkpoint, batch_size
        self.config, self.tokenizer = load_config(checkpoint), load_tokenizer(checkpoint)
        self.pad = padding_of(checkpoint, self.config)
        self.model = load_model(checkpoint, "auto", None, device, scores=True).requires_grad_(False)
        self.end = read_facts(checkpoint).get("answer_end", [])
        self.positions = longest_text(self.config.get_text_config())

    def check_room(self, prompt: int, answer: int) -> None:
        """Raise HeirloomError where the longest prompt and answer (tokens) have more tokens than positions."""
        needed = prompt + answer + len(self.end)
        if self.positions is not None and needed > self.positions:
            raise HeirloomError(
                f"{self.checkpoint}: has {self.positions} positions, and a prompt with its answer may have {needed} "
                "tokens: lower training.max_completion_length, or max_length of the dataset"
            )

    def __call__(self, rows: Sequence[Row]) -> list[float]:
        """Return a number for each row. Raises HeirloomError for one that is none, and for tokens unknown to it.

        A text that has more tokens than the answer was drawn with, as tokens of its own may, and than there are
        positions, loses its beginning: the answer counts.
        """
        if not rows:
            return []
        ids = [closed_ids(f"{row['prompt']}{row['completion']}", self.end, self.tokenizer) for row in rows]
        texts = [(each[-self.positions :] if self.positions else each, []) for each in ids]
        check_rows(self.checkpoint, texts, self.config)
        found: list[float] = []
        for start in range(0, len(texts), self.batch_size):
            batch = texts[start : start + self.batch_size]
            found += in_halves(lambda part: rewards_of(self.model, self.pad, part), batch, "scored")
        check_finite(self.checkpoint, found)
        return found
