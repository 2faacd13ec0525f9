"""`trainer: trainer`."""

from heirloom.config.trainers.spec import TrainerSpec

LANGUAGE_MODELING = TrainerSpec(
    name="trainer",
    title="language modelling: pre-training, continued or from scratch",
    script="scripts/train.py",
    arguments_class="transformers.TrainingArguments",
    row_kinds=("text", "chat", "seq2seq"),
    held_out=("loss", "perplexity"),
    collators=("dynamic_padding_only", "completion_only", "mlm", "seq2seq"),
    joins_rows=True,
)
