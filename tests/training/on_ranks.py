"""What is computed once by one rank in the test's own process and once by two under torchrun, to be compared.

torchrun --nproc-per-node 2 tests/training/on_ranks.py WORKPLACE RESULTS.json
"""

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

import torch
from datasets import Dataset
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    PreTrainedModel,
    Seq2SeqTrainingArguments,
    TrainingArguments,
)

from heirloom.config.sections.generation import GenerationSection
from heirloom.config.trainers.seq2seq import SEQ2SEQ
from heirloom.data.processed_dataset import load_split
from heirloom.distributed import is_main_rank, start_deepspeed, start_rank, world_size
from heirloom.stage import leave_ranks
from heirloom.training.batches.collator_choice import make_collator
from heirloom.training.batches.collators import CausalCollator
from heirloom.training.losses.generated_evaluation import held_out_answers
from heirloom.training.losses.token_mean_loss import loss_function
from heirloom.training.losses.token_weighted_evaluation import token_weighted_metrics
from seq2seq_train import ExactSeq2SeqTrainer
from train import LanguageModelTrainer

GLOBAL_BATCH, STEPS = 8, 3
WITHOUT_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "dropout_rate": 0.0}
BERT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
T5 = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2, "decoder_start_token_id": 1}
ANSWERING = {
    "greedy": {"max_new_tokens": 6, "test_batch_size": 4},
    "beams": {"max_new_tokens": 6, "test_batch_size": 4, "num_beams": 3},
    "sampled": {"max_new_tokens": 6, "test_batch_size": 4, "do_sample": True, "seed": 3},
}


def fresh(model_type: str) -> PreTrainedModel:
    """Return a tiny model with fixed random weights and no dropout."""
    torch.manual_seed(1)
    sizes = {"bert": BERT, "t5": T5}[model_type]
    config = AutoConfig.for_model(model_type, vocab_size=300, pad_token_id=1, **WITHOUT_DROPOUT, **sizes)
    auto = AutoModelForMaskedLM if model_type == "bert" else AutoModelForSeq2SeqLM
    return auto.from_config(config)


def lively(model: PreTrainedModel) -> PreTrainedModel:
    """Return the model with weights so large that it answers each prompt in its own way, in evaluation mode."""
    torch.manual_seed(2)
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.3 * torch.randn_like(weight)
    return model.eval()


def uneven_rows(model_type: str) -> Dataset:
    """Return rows whose numbers of trained tokens differ by much, so that a mean of means is no mean."""
    rows = []
    for number in range(GLOBAL_BATCH * STEPS):
        ids = [7 + (number * 31 + place * 17) % 290 for place in range(4 + number * 5 % 23)]
        every = 2 + number % 4
        masked = [token if place % every == 0 else -100 for place, token in enumerate(ids)]
        rows.append({"input_ids": ids, "labels": masked if model_type == "bert" else ids[: 1 + number % 9]})
    return Dataset.from_list(rows)


def trained(
    model_type: str, place: Path, work: Path, *, deepspeed: str | None = None, exact: bool = True
) -> dict[str, Any]:
    """Train for a few steps: one pass a step on one rank, two passes on each of two. Return what it came to."""
    passes = world_size()
    args = TrainingArguments(
        output_dir=str(work),
        use_cpu=True,
        deepspeed=deepspeed,
        per_device_train_batch_size=GLOBAL_BATCH // world_size() // passes,
        gradient_accumulation_steps=passes,
        max_steps=STEPS,
        optim="sgd",
        learning_rate=0.5,
        max_grad_norm=1e6,  # measured, not clipped
        lr_scheduler_type="constant",
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    if deepspeed:
        start_deepspeed()
    model, rows = fresh(model_type), uneven_rows(model_type)
    if model_type == "bert":
        collator = CausalCollator(1)
    else:
        tokenizer = AutoTokenizer.from_pretrained(place / "tokenizer")
        columns = rows.column_names
        collator = make_collator("default", trainer=SEQ2SEQ, columns=columns, tokenizer=tokenizer, model=model)
    trainer = LanguageModelTrainer(
        model=model,
        args=args,
        train_dataset=rows,
        eval_dataset=rows.select(range(11)),
        data_collator=collator,
        compute_loss_func=loss_function(model, args) if exact else None,
        compute_metrics=token_weighted_metrics,
    )
    trainer.train()
    steps = [log for log in trainer.state.log_history if "grad_norm" in log]
    weights = trainer.accelerator.unwrap_model(trainer.model).state_dict()
    return {
        "losses": [log["loss"] for log in steps],
        "grad_norms": [log["grad_norm"] for log in steps],
        "weights": {name: weight.flatten().tolist()[:50] for name, weight in weights.items()},
        "held_out_loss": trainer.evaluate()["eval_loss"],
    }


def evaluated(kind: str, place: Path, work: Path) -> dict[str, Any]:
    """Answer the 11 held-out prompts of a dataset in each way, through the trainer's own evaluation."""
    base, auto = {"chat": ("model", AutoModelForCausalLM), "seq2seq": ("t5", AutoModelForSeq2SeqLM)}[kind]
    tokenizer = AutoTokenizer.from_pretrained(place / base)
    model = lively(auto.from_pretrained(place / base))
    args = Seq2SeqTrainingArguments(
        output_dir=str(work),
        use_cpu=True,
        per_device_eval_batch_size=4,
        predict_with_generate=True,
        report_to="none",
        disable_tqdm=True,
    )
    test = load_split(place / f"prompts-{kind}", "test").select_columns(["input_ids", "labels"])
    columns = test.column_names
    trainer = ExactSeq2SeqTrainer(
        model=model,
        args=args,
        eval_dataset=test,
        data_collator=make_collator("default", trainer=SEQ2SEQ, columns=columns, tokenizer=tokenizer, model=model),
        processing_class=tokenizer,
        compute_metrics=token_weighted_metrics,
    )
    found = {}
    for name, settings in ANSWERING.items():
        section = GenerationSection.model_validate(settings)
        trainer.held_out_answers = held_out_answers(place / f"prompts-{kind}", section, model, tokenizer, args)
        metrics = trainer.evaluate()
        scores = {key: metrics[f"eval_{key}"] for key in ("loss", "exact_match", "gen_len", "finished")}
        found[name] = {"answers": trainer.held_out_answers.answers(), "scores": scores}
    return found


def everything(place: Path, work: Path) -> dict[str, Any]:
    """Return all results, as JSON holds them."""
    results = {f"trained {name}": trained(name, place, work) for name in ("bert", "t5")}
    results["upstream t5"] = trained("t5", place, work, exact=False)
    results |= {f"evaluated {kind}": evaluated(kind, place, work) for kind in ("chat", "seq2seq")}
    return json.loads(json.dumps(results))


if __name__ == "__main__":
    workplace, file = map(Path, sys.argv[1:])
    start_rank()
    results = everything(workplace, file.with_suffix(".work"))
    zero2 = Path(__file__).resolve().parents[2] / "config" / "deepspeed" / "zero2.json"
    results["zero2 t5"] = trained("t5", workplace, file.with_suffix(".work"), deepspeed=str(zero2))
    if is_main_rank():
        file.write_text(json.dumps(results))
    leave_ranks()
