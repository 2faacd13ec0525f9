"""What the scripts of trainers that learn from rewards have in common: all but TRL's class and its arguments'."""

from dataclasses import replace
from typing import Any

from transformers import PreTrainedTokenizerFast, TrainingArguments
from trl import GRPOConfig, RLOOConfig

from heirloom.artifacts import new_artifact
from heirloom.config.before_training.tried_rewards import longest_answer
from heirloom.config.sections.generation import GenerationSection
from heirloom.distributed import is_main_rank, say
from heirloom.errors import HeirloomError
from heirloom.inference.prompts import Prompt
from heirloom.models.language_models import class_name, longest_text, predicts_next_token, without_adapter
from heirloom.training.callbacks.completion_history import CompletionHistory
from heirloom.training.inputs.adapters import lora_config
from heirloom.training.inputs.base_models import load_model
from heirloom.training.inputs.dropout import disable_dropout
from heirloom.training.inputs.prompt_rows import check_room, prompt_rows
from heirloom.training.inputs.training_command import TrainingCommand
from heirloom.training.inputs.training_data import TrainingData
from heirloom.training.lifecycle import Lifecycle
from heirloom.training.losses.fused_output import FusedOutput
from heirloom.training.losses.generated_evaluation import HeldOutAnswers
from heirloom.training.preparation import arguments_and_model, load_inputs, making_trainer
from heirloom.training.rewards.functions import rewards_of
from heirloom.training.rewards.reward_models import reward_models
from heirloom.training.rewards.sampling import SampledAnswers
from heirloom.training.rewards.trial import evenly, try_rewards
from heirloom.training.trainers.rewarded_trainers import OwnAnswers

Arguments = GRPOConfig | RLOOConfig


class RewardedLifecycle(Lifecycle):
    """A training's life that also leaves some of the answers that it learned from; set `completions` before it runs."""

    completions: CompletionHistory

    def write_metrics(self, facts: dict[str, Any]) -> None:
        """Write what was measured, and the answers."""
        super().write_metrics(facts)
        if self.command.completions:
            with new_artifact(self.command.completions) as partial:
                self.completions.write(partial)


def train_by_rewards(command: TrainingCommand, kind: type[TrainingArguments], trainer_kind: type[OwnAnswers]) -> None:
    """Train as a run's file says: `kind` is the class of its arguments, `trainer_kind` that of its trainer.

    Raises HeirloomError for rewards that teach nothing, rows without prompts or references, a model that gives no
    answers, and as the functions of `heirloom.training.preparation` do.
    """
    if not command.training.rewards:
        raise HeirloomError("training.rewards is missing: say what an answer is worth (docs/training.md)")
    data, tokenizer = load_inputs(command)
    longest = longest_answer(command.trainer, command.training)
    models = reward_models(command.reward_models, command.training.per_device_train_batch_size)
    rewards = rewards_of(command.training.rewards, longest, models)
    prompts = prompt_data(command, data, tokenizer)
    if models:
        prompt = max(len(ids) for rows in (prompts.train, prompts.test) if rows for ids in rows["prompt_ids"])
        for model in models.values():
            model.check_room(prompt, longest)
    if command.tried_rewards is None and is_main_rank():
        say(try_rewards(rewards, list(prompts.train.select(evenly(len(prompts.train))))).said)
    own = {"num_generations_eval": 1, "pad_to_multiple_of": command.training.pad_to_multiple_of}
    args, model = arguments_and_model(kind, command, data, remove_unused_columns=False, **own)
    if not predicts_next_token(model):
        raise HeirloomError(
            f"trainer: {command.trainer.name} learns from answers of causal models, and the base is "
            f"{class_name(model)}: choose another base"
        )
    positions = longest_text(model.config.get_text_config())
    for rows in (prompts.train, prompts.test):
        if rows is not None:
            check_room(rows, command.dataset, positions, args.max_completion_length)
    check_number(prompts, command, args)
    if args.disable_dropout:
        disable_dropout(model)
    reference = load_model(command) if args.beta and command.peft is None else None
    if reference is not None and args.disable_dropout:
        disable_dropout(reference)

    lifecycle = RewardedLifecycle(command)
    with making_trainer():
        trainer = trainer_kind(
            **lifecycle.shared_arguments(model, args, prompts, tokenizer),
            rewards=rewards,
            reference=reference,
            peft_config=lora_config(command.peft, model),
        )
    answers = SampledAnswers(without_adapter(trainer.model), tokenizer, sampling_section(args), args.device)
    trainer.sampler = answers
    trainer.held_out = HeldOutAnswers(held_out_prompts(prompts), answers)
    trainer.show_every = command.tracking.logging_steps
    trainer.shown_answers = command.tracking.num_completions_to_print
    lifecycle.completions = trainer.completions
    trainer.add_callback(FusedOutput(args.temperature))
    lifecycle.run(trainer)


def prompt_data(command: TrainingCommand, data: TrainingData, tokenizer: PreTrainedTokenizerFast) -> TrainingData:
    """Return both splits as prompts with references. Raises HeirloomError as `prompt_rows` does."""
    train, test = (
        prompt_rows(rows, tokenizer, command.dataset) if rows is not None else None for rows in (data.train, data.test)
    )
    return replace(data, train=train, test=test)


def check_number(prompts: TrainingData, command: TrainingCommand, args: Arguments) -> None:
    """Raise HeirloomError when there are fewer prompts than one step takes."""
    needed = args.generation_batch_size // args.num_generations
    if len(prompts.train) < needed:
        raise HeirloomError(
            f"{command.dataset}: has {len(prompts.train)} prompts, and a step takes {needed} (global_batch_size "
            f"{args.generation_batch_size} / num_generations {args.num_generations}), so nothing would be trained: "
            "lower global_batch_size"
        )


def held_out_prompts(data: TrainingData) -> list[Prompt]:
    """Return the prompts of the test split, none where nothing is held out."""
    rows = data.test if data.test is not None else []
    return [
        Prompt(row["row"], f"test-{row['row']}", row["prompt"], tuple(row["prompt_ids"]), row["reference"])
        for row in rows
    ]


def sampling_section(args: Arguments) -> GenerationSection:
    """Return how answers are drawn, as a section `generation:` would say it."""
    own = {"min_p": args.min_p} if args.min_p is not None else {}
    return GenerationSection(
        do_sample=True,
        seed=args.seed,
        temperature=args.temperature,
        top_k=args.top_k,
        top_p=args.top_p,
        max_new_tokens=args.max_completion_length,
        test_batch_size=args.per_device_eval_batch_size,
        **own,
    )
