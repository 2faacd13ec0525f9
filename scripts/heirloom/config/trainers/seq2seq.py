"""`trainer: seq2seq`."""

from heirloom.config.trainers.spec import TrainerSpec

SEQ2SEQ = TrainerSpec(
    name="seq2seq",
    title="sources to targets, with answers to held-out prompts on the way",
    script="scripts/seq2seq_train.py",
    arguments_class="transformers.Seq2SeqTrainingArguments",
    row_kinds=("seq2seq", "chat"),
    held_out=("loss", "perplexity"),
    collators=("seq2seq", "completion_only", "dynamic_padding_only"),
    held_out_answers=("exact_match", "gen_len", "finished"),
    generates=True,
)
