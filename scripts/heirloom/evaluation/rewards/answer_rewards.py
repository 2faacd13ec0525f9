"""The metric `reward`: what a reward model gives to answers of another model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from accelerate import PartialState
from transformers import PreTrainedTokenizerFast

from heirloom.config.sections.evaluation import REWARD
from heirloom.evaluation.intervals import Statistic
from heirloom.evaluation.model_scores import ModelScores, digest_of
from heirloom.evaluation.rewards.reward_model import score_texts
from heirloom.evaluation.scores import Scores
from heirloom.inference.prompts_file import prompt_ids
from heirloom.models.model_facts import read_facts
from heirloom.models.trained_checkpoints import check_checkpoint, load_tokenizer


def answer_rewards(
    reward_model: Path,
    rows: Sequence[dict[str, Any]],
    batch_size: int,
    ranks: PartialState,
    attention: str | None = None,
) -> ModelScores:
    """Return the reward of each answer, a row of generations.jsonl.

    Each is scored with its prompt, closed as the answers were that the reward model was trained on, also one that was
    cut. Every rank calls this and gets the same result. Raises HeirloomError as `score_texts` does.
    """
    check_checkpoint(reward_model)
    tokenizer = load_tokenizer(reward_model)
    end = read_facts(reward_model).get("answer_end", [])
    texts = [(closed_ids(f"{row['prompt']}{row['completion']}", end, tokenizer), []) for row in rows]
    rewards = score_texts(reward_model, texts, batch_size, ranks, attention)
    return ModelScores(digest_of(texts), [row["row_id"] for row in rows], rewards, reward_model)


def reward_scores(measured: ModelScores) -> Scores:
    """Return the mean reward of answers, with its interval over prompts."""
    return Scores({(REWARD,): Statistic.mean(measured.prompts, measured.values)})


def closed_ids(text: str, end: list[int], tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """Return the ids of a prompt with its answer, `end` behind it. A chat template writes special tokens itself."""
    ids = prompt_ids(text, tokenizer, special=tokenizer.chat_template is None)
    return ids if end and ids[-len(end) :] == end else [*ids, *end]
