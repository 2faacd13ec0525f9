"""Score the rows of a dataset with the base of later trainings, once for all of them: the reference of DPO and KTO.

    python scripts/launch.py torchrun scripts/score_reference.py --trainer dpo --base checkpoints/demo-sft
        --dataset data/processed/demo-preferences --deepspeed config/deepspeed/zero2.json
        --training '{"bf16": false}' --output reference_scores/demo-sft-on-demo-preferences

In:  a processed dataset of kind preference (dpo; kto: labelled, too), a model with its tokenizer, and the keys of
     `training:` that decide the numbers.
Out: OUTPUT/train.safetensors and test.safetensors, the sum of the log-probabilities of each answer's tokens, one number
     a row, as TRL's trainer computes it; heirloom.json, which says of which rows and weights. A training that reads it
     holds one model instead of two.
"""

import heirloom.rank  # noqa: F401  first: it keeps out libraries that are not needed

# isort: split
import os
import shutil
from dataclasses import replace

from transformers import PreTrainedTokenizerFast
from trl import DPOConfig, KTOConfig
from trl.trainer.dpo_trainer import DataCollatorForPreference
from trl.trainer.kto_trainer import DataCollatorForUnpairedPreference

from heirloom import stage
from heirloom.artifacts import new_artifact
from heirloom.distributed import is_main_rank
from heirloom.models.weights import weights_hash
from heirloom.training.batches.preference_collators import pair_collator
from heirloom.training.inputs.adapter_bases import remove_base
from heirloom.training.inputs.dropout import disable_dropout
from heirloom.training.inputs.reference_command import read_reference_command
from heirloom.training.inputs.reference_scores import splits_of, write_reference_scores
from heirloom.training.inputs.single_answers import single_answers
from heirloom.training.inputs.training_command import TrainingCommand
from heirloom.training.inputs.training_data import TrainingData, copied_rows
from heirloom.training.losses.fused_output import check_fused_output
from heirloom.training.preparation import arguments_and_model, load_inputs, making_trainer
from heirloom.training.trainers.kto import PretokenizedKTOTrainer
from heirloom.training.trainers.pretokenized_trainers import PretokenizedDPOTrainer


def main() -> None:
    command = read_reference_command(__doc__)
    data, tokenizer = load_inputs(command)
    try:
        trainer = scoring_trainer(command, data, tokenizer)
        check_fused_output(trainer.model, trainer.args)
    finally:
        remove_base(command)
    scored = splits_of(replace(data, train=trainer.train_dataset, test=trainer.eval_dataset))
    if is_main_rank():
        facts = {"trainer": command.trainer.name, "base": weights_hash(command.base)}
        with new_artifact(command.output) as partial:
            partial.mkdir()
            write_reference_scores(partial, scored, facts)
        if "HEIRLOOM_WORK_DIR" not in os.environ:
            shutil.rmtree(trainer.args.output_dir)
        rows = ", ".join(f"{len(rows):,} {split} rows" for split, rows in scored.items())
        print(f"{command.output}: {rows} scored by {command.base}", flush=True)


def scoring_trainer(
    command: TrainingCommand, data: TrainingData, tokenizer: PreTrainedTokenizerFast
) -> PretokenizedDPOTrainer | PretokenizedKTOTrainer:
    """Return a trainer that has computed what the reference gives the rows: as it is made, before any training."""
    own = {"max_length": None, "precompute_ref_log_probs": True}
    if command.trainer.name == "dpo":
        kind, config, collator = PretokenizedDPOTrainer, DPOConfig, DataCollatorForPreference
    else:
        kind, config, collator = PretokenizedKTOTrainer, KTOConfig, DataCollatorForUnpairedPreference
        own["remove_unused_columns"] = False
    args, model = arguments_and_model(config, command, data, **own)
    if args.disable_dropout:
        disable_dropout(model)  # the trainer knows layers of dropout alone
    # the trainer writes a cache beside the rows that it reads
    data = copied_rows(data, args.output_dir) if command.trainer.name == "dpo" else single_answers(data, args)
    with making_trainer():
        return kind(
            model=model,
            args=args,
            train_dataset=data.train,
            eval_dataset=data.test,
            processing_class=tokenizer,
            data_collator=pair_collator(collator, command, tokenizer),
        )


if __name__ == "__main__":
    stage.run(main)
