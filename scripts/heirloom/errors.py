"""The user's mistakes, told in one sentence.

    HeirloomError (ValueError)      what is wrong, where, what was expected, what to do
    ├── ConfigErrors                every mistake in config/ at once (heirloom.config.project)
    └── InterruptionError           a signal stopped the training (heirloom.training.callbacks.interruption)

A script that ends with `stage.run(main)` prints such an error without a trace; anything else is a defect of
ours and keeps its trace.
"""


class HeirloomError(ValueError):
    """A mistake that the user can mend; the message names the place and the remedy."""

    exit_code = 1
    """What a script's process ends with."""
