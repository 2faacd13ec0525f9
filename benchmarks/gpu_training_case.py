"""One measurement of gpu_training.py: `torchrun gpu_training_case.py JOB.json`, in the folder of its inputs.

Ours is what a stage runs: the real script builds everything, except that the model gets random weights on the GPU at
once, and that nothing is saved. Upstream is TRL's trainer with its own defaults on the same rows and the same adapter.
"""

import json
import statistics
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))
JOB = json.loads(Path(sys.argv[1]).read_text())
sys.argv += ["peft"]  # heirloom.rank: do not leave it out

import heirloom.rank  # noqa: E402, F401

# isort: split
import torch  # noqa: E402
from datasets import load_from_disk  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, TrainerCallback  # noqa: E402

WARM_UP = 1 if JOB["tiny"] else 3
MAX_LENGTH = 128 if JOB["tiny"] else 4096
KINDS = {"sft": "chat", "dpo": "preference"}


def device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def random_model(attention: str | None = None):
    """Return the measured model with random weights, made where it is trained."""
    chosen = {"attn_implementation": attention} if attention else {}
    with torch.device(device()):
        return AutoModelForCausalLM.from_config(LlamaConfig.from_pretrained("measured"), dtype=torch.bfloat16, **chosen)


class Meter(TrainerCallback):
    """Takes the time of each step after WARM_UP, the GPU's work included."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.tokens: list[int] = []

    def on_step_begin(self, args, state, control, **kwargs) -> None:
        self.begun, self.seen = self.now(), state.num_input_tokens_seen
        if state.global_step == WARM_UP and device() == "cuda":
            torch.cuda.reset_peak_memory_stats()

    def on_step_end(self, args, state, control, **kwargs) -> None:
        if state.global_step > WARM_UP:
            self.seconds.append(self.now() - self.begun)
            self.tokens.append(state.num_input_tokens_seen - self.seen)

    def now(self) -> float:
        if device() == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def write(self, trainer, name: str) -> None:
        """Write measured.json: medians over the steps; tokens are those that are no padding."""
        from heirloom.model_flops import Utilization, utilization

        speed = statistics.median(count / each for count, each in zip(self.tokens, self.seconds, strict=True))
        result = {
            "tokens_per_second": round(speed),
            "tokens_per_step": round(statistics.median(self.tokens)),
            "rows_per_second": round(trainer.args.train_batch_size * len(self.seconds) / sum(self.seconds), 2),
            "steps": len(self.seconds),
        }
        measure = utilization(trainer, name)
        if isinstance(measure, Utilization):
            result["mfu"] = round(measure.mfu(statistics.median(self.tokens), speed), 4)
        if device() == "cuda":
            result["peak_memory_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 1)
        Path("measured.json").write_text(json.dumps(result))


def ours() -> None:
    """Run the script of the method, as a stage does, on the random model."""
    from heirloom import models
    from heirloom.training import Lifecycle

    meter = Meter()
    callbacks = Lifecycle.callbacks
    Lifecycle.callbacks = property(lambda self: [*callbacks.fget(self), meter])

    def train_and_measure(self, trainer, name):
        trainer.train()
        meter.write(trainer, name)

    Lifecycle.run = train_and_measure
    models.load_base = lambda command, **_: random_model(command.training.attn_implementation)
    batch = 2 if JOB["method"] == "sft" else 8
    training = {"max_steps": JOB["steps"], "global_batch_size": batch, "per_device_train_batch_size": batch}
    training |= {"bf16": True, "learning_rate": 1e-4, **JOB["training"]}
    if JOB["method"] == "sft":
        training |= {"packing": True, "seq_length": MAX_LENGTH}
    if torch.cuda.is_available() and has_liger():
        training["use_liger_kernel"] = True
    sections = {"training": training, "peft": {"r": 16, "lora_alpha": 32, "target_modules": "all-linear"}}
    Path("ours.yaml").write_text(json.dumps(sections))
    sys.argv = [
        *(f"{JOB['method']}_train.py", "--config", "ours.yaml", "--dataset", f"measured/{KINDS[JOB['method']]}"),
        *("--base", "measured", "--output", "out/ours"),
    ]
    if JOB["method"] == "sft":
        import sft_train

        sft_train.main()
    else:
        import dpo_train

        dpo_train.main()


def has_liger() -> bool:
    import importlib.util

    return importlib.util.find_spec("liger_kernel") is not None


def upstream() -> None:
    """Train as TRL does by default; only what makes the two comparable is set."""
    from peft import LoraConfig
    from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

    rows = load_from_disk(f"measured/{KINDS[JOB['method']]}/train")
    kind, trainer_kind = (SFTConfig, SFTTrainer) if JOB["method"] == "sft" else (DPOConfig, DPOTrainer)
    own = {"dataset_kwargs": {"skip_prepare_dataset": True}} if JOB["method"] == "sft" else {}
    args = kind(
        "out/upstream",
        max_length=MAX_LENGTH,
        max_steps=JOB["steps"],
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        include_num_input_tokens_seen="non_padding",
        use_cpu=not torch.cuda.is_available(),
        **own,
    )
    if JOB["method"] == "dpo":  # the rows are tokenized already, which TRL would do before it trains
        trainer_kind = type("DPOTrainer", (DPOTrainer,), {"_prepare_dataset": lambda self, rows, *_: rows})
    meter = Meter()
    tokenizer = AutoTokenizer.from_pretrained("measured")
    trainer = trainer_kind(
        random_model(),
        args=args,
        train_dataset=rows,
        processing_class=tokenizer,
        peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"),
        callbacks=[meter],
    )
    trainer.train()
    meter.write(trainer, JOB["method"])


if __name__ == "__main__":
    {"ours": ours, "upstream": upstream}[JOB["whose"]]()
