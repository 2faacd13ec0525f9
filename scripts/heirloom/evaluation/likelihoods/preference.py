"""How often a checkpoint prefers the chosen answer of a pair over the rejected one.

The implicit reward of DPO (Rafailov et al., Direct Preference Optimization, arXiv:2305.18290, section 4), as TRL's
DPOTrainer logs it: beta times the difference of the log-probabilities of the answer under the checkpoint and its base.
"""

from pathlib import Path

from accelerate import PartialState

from heirloom.config.sections.row_kinds import IGNORED
from heirloom.data.processed_dataset import held_out_rows, read_description
from heirloom.errors import HeirloomError
from heirloom.evaluation.intervals import Statistic
from heirloom.evaluation.likelihoods.log_likelihood import Row, measure_rows
from heirloom.evaluation.model_scores import ModelScores, digest_of
from heirloom.evaluation.scores import Scores


def answer_likelihoods(
    checkpoint: Path, dataset: Path, batch_size: int, ranks: PartialState, attention: str | None = None
) -> ModelScores:
    """Return the log-probabilities (nats) of both answers of each held-out pair, the chosen one's first.

    Every rank calls this and gets the same result. Raises HeirloomError when there is no model, or no pair held out.
    """
    pairs = read_pairs(dataset)
    # by length, so that little is padded; the longest first, so that too little memory shows at once
    order = sorted(range(2 * len(pairs)), key=lambda index: -len(pairs[index // 2][1 + index % 2][0]))
    rows = [pairs[index // 2][1 + index % 2] for index in order]
    measured = dict(zip(order, measure_rows(checkpoint, rows, batch_size, ranks, attention), strict=True))
    values = [[-measured[2 * index][0], -measured[2 * index + 1][0]] for index in range(len(pairs))]
    return ModelScores(digest_of(pairs), [row_id for row_id, _, _ in pairs], values, checkpoint)


def preference_scores(own: ModelScores, base: ModelScores | None, beta: float) -> Scores:
    """Return `accuracy`, the share of pairs whose chosen answer has the higher reward, and `margin`, the mean of
    chosen minus rejected reward, both under `preference`; intervals are over pairs.

    `own` and `base`: of `answer_likelihoods`. Without a base the reward is the log-probability itself (nats), without
    beta.
    """
    rewards = own.values
    if base is not None:
        pairs = zip(own.values, base.values, strict=True)
        rewards = [[beta * (mine - other) for mine, other in zip(*pair, strict=True)] for pair in pairs]
    margins = [chosen - rejected for chosen, rejected in rewards]
    won = [margin > 0 for margin in margins]
    return Scores(
        {
            ("preference", "accuracy"): Statistic.mean(own.prompts, won),
            ("preference", "margin"): Statistic.mean(own.prompts, margins),
        }
    )


def read_pairs(dataset: Path) -> list[tuple[str, Row, Row]]:
    """Return row_id, chosen and rejected sequence of each test row; only the answers' tokens count.

    Raises HeirloomError when the dataset has no pairs, or none held out.
    """
    kind = read_description(dataset)["kind"]
    if kind != "preference":
        raise HeirloomError(
            f"{dataset}: preference is measured on pairs, and these rows are of kind {kind}: let "
            "evaluation.preference_dataset name a dataset of kind preference"
        )
    split = held_out_rows(dataset, "measure on")
    columns = split.select_columns(["row_id", "prompt_ids", "chosen_ids", "rejected_ids"])
    return [
        (row["row_id"], *(after_prompt(row["prompt_ids"], row[answer]) for answer in ("chosen_ids", "rejected_ids")))
        for row in columns
    ]


def after_prompt(prompt: list[int], answer: list[int]) -> Row:
    """Return the ids of a prompt with its answer, and labels that count the answer only."""
    return [*prompt, *answer], [*[IGNORED] * len(prompt), *answer]
