"""Measure TRL's trainers with their own defaults on the same rows as texts: `measured_upstream.py METHOD RESULT PLAN`.

PLAN is JSON with {peft, arguments}; the arguments say how long the training is and that nothing is saved, all others
are TRL's. Raises AssertionError when TRL made other numbers of tokens of the texts than our stages read.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from datasets import load_dataset, load_from_disk  # noqa: E402
from meter import random_model, train_and_measure  # noqa: E402
from peft import LoraConfig  # noqa: E402
from transformers import AutoTokenizer  # noqa: E402
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer  # noqa: E402

CLASSES = {"lora": (SFTConfig, SFTTrainer, "chat"), "dpo": (DPOConfig, DPOTrainer, "preference")}


def main() -> None:
    method, result, plan = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
    arguments_class, trainer_class, name = CLASSES[method]
    trainer = trainer_class(
        model=random_model(Path("base")),
        args=arguments_class(output_dir="upstream", **plan["arguments"]),
        train_dataset=load_dataset("json", data_files=f"{name}.jsonl", split="train", cache_dir="cache"),
        processing_class=AutoTokenizer.from_pretrained("base"),
        peft_config=LoraConfig(**plan["peft"], target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    ours = load_from_disk(f"{name}/train")
    assert tokens(trainer.train_dataset) == tokens(ours), (tokens(trainer.train_dataset), tokens(ours))
    length = json.loads(Path("lengths.json").read_text())[method]["mean"]
    train_and_measure(trainer, method, length, result)


def tokens(rows) -> int:
    """Return how many tokens a dataset's columns of ids hold."""
    columns = [name for name in rows.column_names if name.endswith("_ids")]
    return sum(len(ids) for name in columns for ids in rows[name])


if __name__ == "__main__":
    main()
