"""Plain scripts of the upstream libraries on texts, to compare with: `torchrun plain_upstream.py JOBS.json`.

Nothing of Heirloom is imported, and nothing is prepared: each method is what its library's documentation shows, under
DeepSpeed. A job is {method, model, rows, arguments, output}; it leaves losses.json and model.safetensors in `output`.
"""

import json
import os
import sys
from pathlib import Path

os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"

import deepspeed
import torch
from accelerate.state import AcceleratorState, GradientState
from datasets import Dataset
from safetensors.torch import save_file
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DataCollatorForLanguageModeling,
    Trainer,
    TrainingArguments,
)
from transformers.integrations.deepspeed import unset_hf_deepspeed_config
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer, RewardConfig, RewardTrainer, SFTConfig, SFTTrainer
from trl.experimental.orpo import ORPOConfig, ORPOTrainer

CLASSES = {
    "trainer": (TrainingArguments, Trainer),
    "sft": (SFTConfig, SFTTrainer),
    "dpo": (DPOConfig, DPOTrainer),
    "orpo": (ORPOConfig, ORPOTrainer),
    "kto": (KTOConfig, KTOTrainer),
    "reward": (RewardConfig, RewardTrainer),
}


def run(method, model, rows, arguments, output):
    arguments_class, trainer_class = CLASSES[method]
    args = arguments_class(output_dir=output, use_cpu=True, bf16=False, report_to="none", logging_steps=1, **arguments)
    deepspeed.init_distributed(auto_mpi_discovery=False)
    tokenizer = AutoTokenizer.from_pretrained(model)
    dataset = Dataset.from_list(rows)
    others = {}
    if method == "trainer":
        dataset = dataset.map(lambda row: tokenizer(row["text"]), remove_columns=dataset.column_names)
        others["data_collator"] = DataCollatorForLanguageModeling(tokenizer, mlm=False)
    trainer = trainer_class(
        model=model if method == "reward" else AutoModelForCausalLM.from_pretrained(model),  # TRL makes the head itself
        args=args,
        train_dataset=dataset,
        processing_class=tokenizer,
        **others,
    )
    trainer.train()
    weights = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    if trainer.is_world_process_zero():
        losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
        Path(output, "losses.json").write_text(json.dumps(losses))
        weights.pop("lm_head.weight", None)  # tied to the embedding
        save_file({name: tensor.contiguous() for name, tensor in weights.items()}, f"{output}/model.safetensors")


if __name__ == "__main__":
    torch.set_num_threads(1)
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False  # it would be compiled
    for job in json.loads(Path(sys.argv[1]).read_text()):
        run(**job)
        AcceleratorState._reset_state()
        GradientState._reset_state()
        unset_hf_deepspeed_config()
    torch.distributed.destroy_process_group()  # or its threads abort the process at its end now and then
