"""Rewards, and the keys that say how answers are drawn, are checked before anything starts."""

import pytest

RUN = """\
base: sft
dataset: chats
trainer: grpo
training:
  global_batch_size: 64
  rewards:
    - {function: exact_match, answer_pattern: "Answer: (.*)"}
    - {function: "my_rows:shorten", weight: 0.5}
"""


@pytest.fixture
def run(workplace):
    """Write the run, with something changed, and return what is said of it, without file and line."""

    def changed(old="", new=""):
        assert old in RUN
        workplace.write("config/runs/rl.yaml", RUN.replace(old, new))
        return [said.partition(": ")[2] for said in workplace.mistakes()]

    workplace.write("config/runs/rl.yaml", RUN)
    workplace.load()
    return changed


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "exact_match,",
            "exact_mach,",
            "training.rewards[0].function: there is no reward exact_mach here; did you mean ",
        ),
        (
            "my_rows:shorten",
            "my_rows:shortn",
            "training.rewards[1].function: my_rows.py has no function shortn; did you ",
        ),
        ("my_rows:shorten", "my-rows:x", "training.rewards[1].function: 'my-rows:x' must look like module:function"),
        ("(.*)", ".*", "training.rewards[0].answer_pattern: needs a group"),
        ("(.*)", "(", "training.rewards[0].answer_pattern: is no regular expression"),
        (
            '"my_rows:shorten", weight: 0.5',
            "math_verify, pattern: x",
            "training.rewards[1].pattern: has no effect with function: math_verify, only with format; delete it",
        ),
        ("weight: 0.5", "weight: 0", "training.rewards[1].weight: 0 has no effect"),
        (
            "weight: 0.5",
            "pattern: x",
            "training.rewards[1].pattern: has no effect with function: my_rows:shorten, only ",
        ),
        ("weight: 0.5", "wait: 0.5", "training.rewards[1].wait: "),
        ('"my_rows:shorten"', "format", "training.rewards[1].pattern: is missing"),
        (
            '"my_rows:shorten"',
            "reward_model",
            "training.rewards[1].reward_model: is missing; name",
        ),
        (
            "weight: 0.5",
            "reward_model: sft",
            "training.rewards[1].reward_model: has no effect with function: my_rows:shorten, only ",
        ),
        (
            '"my_rows:shorten"',
            "reward_model, reward_model: judge",
            "training.rewards[1].reward_model: there is no run judge; ",
        ),
        (
            '"my_rows:shorten"',
            "reward_model, reward_model: dpo",
            "training.rewards[1].reward_model: the run dpo trains no reward model (trainer: reward); ",
        ),
        ("my_rows:shorten", "exact_match", "training.rewards[1].name: exact_match is the name of two rewards"),
        (
            "e: 64",
            "e: 60",
            "training.global_batch_size: 60 answers are no whole groups of num_generations 8, TRL's default",
        ),
        (
            "e: 64",
            "e: 64\n  num_generations: 1",
            "training.num_generations: 1 answers to a prompt have nothing beside ",
        ),
        ("e: 64", "e: 64\n  loss_type: bnpo", "training.loss_type: bnpo divides by the tokens of one forward pass"),
        ("e: 64", "e: 64\n  loss_type: dapa", "training.loss_type: there is no dapa; did you mean dapo?"),
        ("e: 64", "e: 64\n  top_p: 1.5", "training.top_p: expected more than 0 and at most 1, found 1.5"),
        (
            "e: 64",
            "e: 64\n  use_vllm: true",
            "training.use_vllm: is set by the workflow: answers are drawn by transformers",
        ),
        ("e: 64", "e: 64\n  steps_per_generation: 2", "training.steps_per_generation: is set by the workflow: each "),
        ("e: 64", "e: 64\n  sync_ref_model: true", "training.sync_ref_model: is not available"),
        (
            "e: 64",
            "e: 64\n  num_generation: 4",
            "training.num_generation: trl.GRPOConfig 1.16.0 has no such key; did you ",
        ),
        (
            "trainer: grpo",
            "trainer: sft",
            "training.rewards: has no effect with trainer: sft; use trainer: grpo or",
        ),
        ("dataset: chats", "dataset: text", "dataset: trainer grpo learns from chat rows"),
    ],
)
def test_a_mistake_is_told_at_its_key(run, old, new, said):
    assert any(line.startswith(said) for line in run(old, new)), run(old, new)


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("num_completions_to_print: 3", "belongs to `tracking:`; move it there as tracking.num_completions_to_print"),
        ("log_completions: true", "tracking.num_completions_to_print says how many answers are shown; delete it"),
    ],
)
def test_how_answers_are_shown_is_no_key_of_the_training(run, key, said):
    assert said in run("global_batch_size: 64", f"global_batch_size: 64\n  {key}")[0]


def test_rewards_are_needed(run):
    assert run(RUN.partition("  rewards:")[1] + RUN.partition("  rewards:")[2])[0].startswith(
        "training.rewards: is miss"
    )


def test_longest_answers_are_grpos_key_and_no_longer_dpos(workplace, run):
    workplace.write("config/runs/rl.yaml", RUN.replace("e: 64", "e: 64\n  max_completion_length: 32"))
    workplace.load()
    workplace.change(
        "config/runs/dpo.yaml", "global_batch_size: 64", "global_batch_size: 64\n  max_completion_length: 9"
    )
    assert workplace.mistakes()[0].endswith("set processing.max_length in the dataset's file")


def test_a_group_is_as_large_as_the_trainers_own_default(workplace, run):
    workplace.write(
        "config/runs/rl.yaml", RUN.replace("grpo", "rloo").replace("e: 64", "e: 6\n  per_device_train_batch_size: 3")
    )
    workplace.load()
    said = run("grpo\ntraining:\n  global_batch_size: 64", "rloo\ntraining:\n  global_batch_size: 5")
    assert said[0].startswith("training.global_batch_size: 5 answers are no whole groups of num_generations 2, TRL's")
    said = run("e: 64", "e: 64\n  num_generations: null")
    assert said[0].startswith("training.num_generations: is empty; give how many answers each prompt gets")


@pytest.mark.parametrize(("trainer", "beta"), [("grpo", "beta: 0.1"), ("rloo", "")])
def test_trained_biases_would_move_a_reference(workplace, run, trainer, beta):
    (said,) = run("trainer: grpo\ntraining:", f"peft: {{bias: all}}\ntrainer: {trainer}\ntraining:\n  {beta}")
    assert said.startswith(
        f"peft.bias: all cannot be used with trainer: {trainer}, whose reference is the base with the "
    )
    assert said.endswith("set bias: none, or training.beta: 0")
    workplace.write(
        "config/runs/rl.yaml", RUN.replace("grpo\ntraining:", f"{trainer}\npeft: {{bias: all}}\ntraining:\n  beta: 0.0")
    )
    workplace.load()
