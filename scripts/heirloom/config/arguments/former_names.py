"""Names of the tool that Heirloom replaces, its `launch.py` flags and dataclass fields, and where each stands now.

The keys that kept their name stand here only where their section is not the one that a user would look in. The page
docs/migrating.md is the same table for readers; a test keeps the two together.
"""

DATASET = "in the dataset's file"

FORMER_NAMES: dict[str, str] = {
    "code_entry_point": "the script follows from `trainer:` at the top of the run's file",
    "trainer_type": "write it as `trainer:` at the top of the run's file",
    "job_prefix": "jobs are named by stage and run, so the name of the run's file is the nearest; delete it",
    "model_name": "write `base:` at the top of the run's file and config/models/NAME.yaml with `source: {hub: …}`",
    "s3_model_path": "write `base:` at the top of the run's file and config/models/NAME.yaml with `source: {s3: …}`",
    "train_input_path": "write `dataset:` at the top of the run's file and config/datasets/NAME.yaml",
    "test_input_path": f"the held-out rows are test_split, test_rows or test_fraction of `processing:` {DATASET}",
    "processing_function": f"write it in `processing:` {DATASET}",
    "hf_token": "secrets belong into the environment: HF_TOKEN (docs/sagemaker.md for jobs)",
    "wandb_api_key": "secrets belong into the environment: WANDB_API_KEY, with tracking.report_to: wandb",
    "task_collator": "use training.collator",
    "use_peft": "write the section `peft:`, which says it by being there",
    "lora_r": "use peft.r",
    "lora_alpha": "use peft.lora_alpha",
    "lora_dropout": "use peft.lora_dropout",
    "lora_target_modules": "use peft.target_modules",
    "response_template": f"write processing.train_on: {{response_template: …}} {DATASET}",
    "instruction_template": f"write processing.train_on: {{instruction_template: …}} {DATASET}",
    "comma_separated_template": f"ids with commas in processing.train_on {DATASET} are recognised; delete it",
    "inference_type": "use generation.engine: accelerate, deepspeed or deepspeed_zero",
}
"""Name → what to write instead, or why it is not needed."""
