"""Reward models as rewards: what a run with `trainer: reward` gives to answers, as the metric `reward` has it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from heirloom.distributed import on_cpu
from heirloom.errors import HeirloomError
from heirloom.evaluation.likelihoods.log_likelihood import check_rows
from heirloom.evaluation.rewards.answer_rewards import closed_ids
from heirloom.evaluation.rewards.reward_model import check_finite, rewards_of
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
        self.model = load_model(checkpoint, "auto", None, device, scores=True).requires_grad_(False)
        self.end = read_facts(checkpoint).get("answer_end", [])

    def check_room(self, prompts: Sequence[Sequence[int]], longest: int) -> None:
        """Raise HeirloomError where a prompt (token ids) with the `longest` answer has more tokens than positions."""
        positions = longest_text(self.config.get_text_config())
        needed = max(map(len, prompts)) + longest + len(self.end)
        if positions is not None and needed > positions:
            raise HeirloomError(
                f"{self.checkpoint}: has {positions} positions, and a prompt with its answer may have {needed} tokens: "
                "lower training.max_completion_length, or max_length of the dataset"
            )

    def __call__(self, rows: Sequence[Row]) -> list[float]:
        """Return a number for each row. Raises HeirloomError for one that is none, and for tokens unknown to it."""
        texts = [(closed_ids(f"{row['prompt']}{row['completion']}", self.end, self.tokenizer), []) for row in rows]
        check_rows(self.checkpoint, texts, self.config)
        pad = self.config.get_text_config().pad_token_id
        found: list[float] = []
        for start in range(0, len(texts), self.batch_size):
            batch = texts[start : start + self.batch_size]
            found += in_halves(lambda part: rewards_of(self.model, pad, part), batch, "scored")
        check_finite(self.checkpoint, found)
        return found
