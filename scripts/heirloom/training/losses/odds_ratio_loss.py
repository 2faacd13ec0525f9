"""ORPO's loss of a batch of pairs: how unlikely the chosen answers are, and their odds against the rejected ones.

Hong et al., 2024, "ORPO: Monolithic Preference Optimization without Reference Model" (arXiv:2403.07691), eq. 3 to 7:

    log P(y|x) = mean over the answer's tokens of log P(token | what is before it)     odds(y|x) = P(y|x) / (1 - P(y|x))
    loss = SFT loss of the chosen answer - λ · log sigmoid(log odds(chosen|x) - log odds(rejected|x))

λ is `beta`, as TRL calls it. As in TRL and in the paper's own code the SFT loss is of prompt and answer both, a mean
over the tokens of a pass. Everything is float32, whatever the model's precision.
"""

import math

import torch
from torch.nn.functional import logsigmoid

from heirloom.config.sections.row_kinds import IGNORED
from heirloom.models.token_losses import differentiable_losses, following

COLUMNS = ("chosen_nll", "chosen_tokens", "chosen_loss", "rejected_loss", "chosen_logit", "rejected_logit")
"""What the loss and all that is logged of a pair follow from: see `pair_scores`."""


def pair_scores(
    logits: torch.Tensor, input_ids: torch.Tensor, attention_mask: torch.Tensor, labels: torch.Tensor
) -> torch.Tensor:
    """Return (B, 6), a row a pair, of COLUMNS: the loss (nats) of the chosen text summed over its tokens, and their
    number; the mean losses of the chosen and the rejected answer's tokens; the mean logits of both texts.

    `logits`: (2B, T, V), the chosen texts first. The others: (2B, T); `labels` are IGNORED but for the answers.
    """
    half = len(input_ids) // 2
    text = input_ids.masked_fill(attention_mask == 0, IGNORED)
    targets = following(torch.cat([text[:half], labels[half:]]))  # (2B, T)
    losses = differentiable_losses(logits, targets)  # (2B, T)
    answers = following(labels) != IGNORED
    answer_losses = (losses * answers).sum(dim=1) / answers.sum(dim=1)  # (2B,)
    chosen = losses[:half].sum(dim=1), (targets[:half] != IGNORED).sum(dim=1)  # each (B,)
    places = following(text) != IGNORED
    with torch.no_grad():
        means = torch.stack([row.mean(dim=-1, dtype=torch.float32) for row in logits])  # (2B, T)
        means = (means * places).sum(dim=1) / places.sum(dim=1)
    return torch.stack([*chosen, *answer_losses.split(half), *means.split(half)], dim=1)


def odds_ratio_summary(scores: torch.Tensor, beta: float) -> dict[str, torch.Tensor]:
    """Return the loss, and what TRL logs beside it by the same names, of pairs whose `pair_scores` are (N, 6)."""
    nll_sum, tokens, chosen, rejected, chosen_logit, rejected_logit = scores.unbind(dim=1)
    nll = nll_sum.sum() / tokens.sum()
    log_odds_chosen = log_odds(chosen) - log_odds(rejected)  # (N,)
    ratio = logsigmoid(log_odds_chosen).mean()
    return {
        "loss": nll - beta * ratio,
        "rewards/chosen": -beta * chosen.mean(),
        "rewards/rejected": -beta * rejected.mean(),
        "rewards/accuracies": (chosen < rejected).float().mean(),
        "rewards/margins": beta * (rejected - chosen).mean(),
        "logps/rejected": -rejected.mean(),
        "logps/chosen": -chosen.mean(),
        "logits/rejected": rejected_logit.mean(),
        "logits/chosen": chosen_logit.mean(),
        "nll_loss": nll,
        "log_odds_ratio": ratio,
        "log_odds_chosen": log_odds_chosen.mean(),
    }


def log_odds(losses: torch.Tensor) -> torch.Tensor:
    """Return log(P / (1 - P)) of answers with P = exp(-losses), which is -log(exp(losses) - 1).

    Each of two forms is exact where the other rounds away or overflows (Mächler, 2012, "Accurately Computing
    log(1 - exp(-|a|))", https://cran.r-project.org/package=Rmpfr, eq. 7), and each is kept from where its gradient is
    none. Losses of 0 are taken for the least float32, so that an answer that is certain has finite odds.
    """
    losses = losses.clamp(min=torch.finfo(losses.dtype).tiny)
    near, far = losses.clamp(max=math.log(2)), losses.clamp(min=math.log(2))
    return -torch.where(losses < math.log(2), near.expm1().log(), far + torch.log1p(-torch.exp(-far)))
