"""Fed with the same answers, our trainers learn what TRL's do: advantages, losses, gradients and weights to 1e-6."""

import random

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

from heirloom.config.sections.generation import GenerationSection
from heirloom.config.sections.training import Reward
from heirloom.inference.completion_logprobs import plain_logprobs
from heirloom.inference.prompts import Prompt
from heirloom.training.rewards.functions import rewards_of
from heirloom.training.rewards.sampling import Completion, SampledAnswers
from heirloom.training.trainers.rewarded_trainers import PretokenizedGRPOTrainer, PretokenizedRLOOTrainer

ANSWERS, LONGEST = 4, 8
ARGUMENTS = {
    "learning_rate": 0.1,
    "optim": "sgd",  # weights then differ as gradients do; AdamW divides those that are near 0 by themselves
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 4,
    "num_generations": ANSWERS,
    "max_completion_length": LONGEST,
    "max_steps": 4,
    "logging_steps": 1,
    "bf16": False,
    "gradient_checkpointing": False,
    "use_cpu": True,
    "report_to": "none",
    "save_strategy": "no",
    "disable_tqdm": True,
}
WAYS = {
    "dapo": {},
    "grpo-kl": {"loss_type": "grpo", "beta": 0.2, "mask_truncated_completions": True},
    "dr_grpo-reused": {"loss_type": "dr_grpo", "beta": 0.1, "num_iterations": 2, "scale_rewards": "none"},
    "cispo-reused": {"loss_type": "cispo", "num_iterations": 2, "epsilon_high": 2.0, "scale_rewards": "batch"},
    "luspo": {"loss_type": "luspo", "importance_sampling_level": "sequence", "temperature": 0.7},
    "sapo-each": {"loss_type": "sapo", "num_iterations": 2, "multi_objective_aggregation": "normalize_then_sum"},
}
LEAVE_ONE_OUT = {
    "rloo": {"beta": 0.0, "mask_truncated_completions": True},
    "rloo-kl-reused": {"num_iterations": 2, "normalize_advantages": True, "learning_rate": 0.01},  # norms of 8
}
WAYS |= LEAVE_ONE_OUT
REWARDS = [Reward(function="length"), Reward(function="format", pattern="[ao]", weight=0.5)]


def length(completion_ids, **_):
    return [(len(ids) - (ids[-1] == END[0])) / LONGEST for ids in completion_ids]


def form(completions, **_):
    return [float("a" in text or "o" in text) for text in completions]


END: list[int] = []


class Given:
    """Answers of unequal length, some without an end, in the order in which they are asked for."""

    def __init__(self, tokenizer, number=2 * 16):
        END[:] = [tokenizer.eos_token_id]
        rng = random.Random(3)
        self.ids = []
        for _ in range(number):
            size = rng.randint(1, LONGEST)
            ids = [rng.randrange(10, len(tokenizer)) for _ in range(size - 1)]
            self.ids.append([*ids, END[0] if size < LONGEST else rng.randrange(10, len(tokenizer))])
        self.at = 0

    def next(self, count):
        found = [self.ids[(self.at + each) % len(self.ids)] for each in range(count)]
        self.at += count
        return found


class GivenAnswers:
    """Mixin for TRL's own trainers: where their answers come from."""

    given: Given

    def _generate_single_turn(self, prompt_ids, *_args, **_others):
        return self.given.next(len(prompt_ids)), None


class UpstreamGRPOTrainer(GivenAnswers, GRPOTrainer):
    """TRL's own, but for its answers."""


class UpstreamRLOOTrainer(GivenAnswers, RLOOTrainer):
    """The same of RLOO, which asks for tokens alone."""

    def _generate_single_turn(self, *args, **others):
        return super()._generate_single_turn(*args, **others)[0]


def rows(tokenizer):
    """Return prompts of unequal length for an epoch, as our rows and as TRL's."""
    texts = [f"<|user|>What has {name}?<|end|><|assistant|>" for name in ("Ada", "Bob", "all of Cem", "Dea, Eli")] * 4
    ours = {"row": range(16), "prompt_ids": [tokenizer(text)["input_ids"] for text in texts], "prompt": texts}
    return Dataset.from_dict(ours | {"reference": ["a kite"] * 16}), Dataset.from_dict({"prompt": texts})


@pytest.fixture(autouse=True)
def one_thread():
    """Tiny tensors, on a machine whose cores other tests have too."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("way", WAYS)
def test_the_same_answers_teach_the_same(pristine, tmp_path, way):
    tokenizer = AutoTokenizer.from_pretrained(pristine / "tokenizer")
    own_rows, upstream_rows = rows(tokenizer)
    trained = []
    for ours in (True, False):
        model, reference = (AutoModelForCausalLM.from_pretrained(pristine / "model") for _ in range(2))
        whole = way in LEAVE_ONE_OUT
        args = (RLOOConfig if whole else GRPOConfig)(output_dir=str(tmp_path), **{**ARGUMENTS, **WAYS[way]})
        shared = {"model": model, "args": args, "processing_class": tokenizer}
        if ours:
            rewards = rewards_of(REWARDS, LONGEST)
            kind = PretokenizedRLOOTrainer if whole else PretokenizedGRPOTrainer
            trainer = kind(
                **shared, rewards=rewards, reference=reference if args.beta else None, train_dataset=own_rows
            )
            given = Given(tokenizer)
            trainer.sampler = lambda prompts, given=given: [
                Completion(ids, [0.0] * len(ids), ids[-1] == END[0]) for ids in given.next(len(prompts))
            ]
        else:
            args.reward_weights = [1.0, 0.5]
            kind = UpstreamRLOOTrainer if whole else UpstreamGRPOTrainer
            trainer = kind(**shared, reward_funcs=[length, form], train_dataset=upstream_rows)
            trainer.given = Given(tokenizer)
        trainer.train()
        trained.append((trainer, model))
    (own, own_model), (upstream, upstream_model) = trained
    # TRL mixes the passes of a batch, which changes nothing but the order in which numbers are added
    assert list(own._logs["advantages"]) == pytest.approx(list(upstream._logs["advantages"]), abs=1e-6)
    assert any(abs(advantage) > 0.1 for advantage in own._logs["advantages"])
    for row, other in zip(own.state.log_history[:4], upstream.state.log_history[:4], strict=True):
        for key in ("loss", "grad_norm", "reward"):
            if key in other:
                assert row[key] == pytest.approx(other[key], abs=1e-6, rel=5e-6), (row["step"], key)
    assert own.state.log_history[1]["grad_norm"] > 1e-3
    for name, weight in upstream_model.state_dict().items():
        torch.testing.assert_close(own_model.state_dict()[name], weight, atol=1e-6, rtol=0.0)


def test_an_answer_and_its_log_probabilities_do_not_depend_on_the_batch(pristine):
    tokenizer = AutoTokenizer.from_pretrained(pristine / "tokenizer")
    model = AutoModelForCausalLM.from_pretrained(pristine / "model").eval()
    section = GenerationSection(do_sample=True, seed=7, top_k=0, max_new_tokens=LONGEST)
    sampler = SampledAnswers(model, tokenizer, section, torch.device("cpu"))
    own_rows, _ = rows(tokenizer)
    prompts = [
        Prompt(row["row"], f"{row['row'] % 4}/0", row["prompt"], tuple(row["prompt_ids"]), "", sample=sample)
        for row in own_rows.select(range(4))
        for sample in range(2)
    ]
    together = sampler(prompts)
    assert len({tuple(answer.ids) for answer in together}) == len(prompts)  # a stream of numbers each
    for prompt, answer in zip(prompts, together, strict=True):
        (alone,) = sampler([prompt])
        assert alone.ids == answer.ids and answer.finished == (answer.ids[-1] == tokenizer.eos_token_id)
        assert answer.logprobs == pytest.approx(alone.logprobs, abs=1e-5)
        expected = plain_logprobs(model, prompt.ids, answer.ids).tolist()
        assert answer.logprobs == pytest.approx(expected, abs=1e-5)
