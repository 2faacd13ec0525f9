"""What a training counts beside the loss, at the price of one exchange between the ranks a step."""

from typing import Any

import torch


class StepCounts:
    """Mixin for a Trainer of any kind.

    transformers' Trainer adds up the tokens of all ranks after every pass, walks through the whole model at every pass
    to count operations, and adds those up when it logs, which is every step here. Nobody asks for the operations
    (`model_flops` has its own convention), so they stay 0.
    """

    own_tokens: torch.Tensor | int = 0
    """Tokens of this rank that the state does not know of yet."""

    def _track_num_input_tokens(self, inputs: dict[str, Any]) -> None:
        """Count this rank's tokens without padding, as Trainer does."""
        mask = inputs.get("attention_mask")
        if mask is None:  # packed rows
            mask = inputs["input_ids"] != self.processing_class.pad_token_id
        self.own_tokens = self.own_tokens + mask.sum()

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Let the state know of all ranks' tokens, then log. Every rank calls it."""
        if torch.is_tensor(self.own_tokens) or self.own_tokens:
            own = torch.as_tensor(self.own_tokens, device=self.args.device, dtype=torch.int64)
            self.state.num_input_tokens_seen += int(self.accelerator.reduce(own))
            self.own_tokens = 0
        super().log(logs, *args, **kwargs)

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Return 0."""
        return 0

    def store_flos(self) -> None:
        """Leave it at 0."""
