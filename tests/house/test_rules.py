"""A rule says the command of its stages: its docstring has the form in which the graph makes it."""

import re
import shlex
from pathlib import Path
from textwrap import dedent

import pytest

from heirloom.config.project import load_project
from heirloom.config.trainers.table import TRAINERS
from pipeline.graph.commands import flags_of
from pipeline.graph.graph import build_graph
from pipeline.graph.stages import KINDS, Stage

REPOSITORY = Path(__file__).resolve().parents[2]
RULES = {
    name: docstring
    for file in sorted(REPOSITORY.glob("rules/*.smk"))
    for name, docstring in re.findall(r'^rule (\w+):\n    """(.*?)"""', file.read_text(), re.MULTILINE | re.DOTALL)
}

ORDER = ["download_dataset", "generate_dataset", *(Path(entry.script).stem for entry in TRAINERS.values())]

DATASETS = {"text": "text", "chat": "chats", "preference": "pairs", "labelled": "judged", "seq2seq": "translated"}
"""The dataset of each kind of rows."""
TRAINING = "{global_batch_size: 4, per_device_train_batch_size: 2, max_steps: 1}"
REWARDED = TRAINING.replace("}", ", num_generations: 2, rewards: [{function: exact_match}]}")
EVERYTHING = {
    "deepspeed/zero2.json": '{"zero_optimization": {"stage": 2}}',
    "prompts.jsonl": '{"prompt": "Well?"}',
    "tasks/task.yaml": "task: tiny",
    "models/tiny.yaml": "{tokenizer: {train_on: text, vocab_size: 300}, init: {model_type: llama, hidden_size: 8}}",
    "models/fetched.yaml": "source: {path: config/tasks}",
    "models/changed.yaml": "{source: {path: config/tasks}, tokenizer: {pad_token: <pad>}}",
    "datasets/text.yaml": """
        tokenizer: tiny
        source: {generator: demo, part: text, rows: 9}
        processing: {processing_function: plain_text_processing_function, max_length: 16}
        """,
    "datasets/chats.yaml": """
        tokenizer: tiny
        source: {s3: "s3://bucket/chats"}
        processing: {processing_function: dummy_processing_function, max_length: 16}
        """,
    "datasets/translated.yaml": """
        tokenizer: tiny
        source: {path: config/tasks}
        processing: {processing_function: seq2seq_processing_function, max_length: 16}
        """,
    "datasets/elsewhere.yaml": '{tokenizer: tiny, source: {processed: "s3://bucket/made", kind: chat}}',
    "datasets/mixed.yaml": "{tokenizer: tiny, mixture: {datasets: {chats: 1.0}}}",
    "datasets/pairs.yaml": """
        tokenizer: tiny
        source: {generator: demo, part: preferences, rows: 9}
        processing:
          {processing_function: dummy_rlhf_processing_function, max_length: 16, max_prompt_length: 8}
        """,
    "datasets/judged.yaml": """
        tokenizer: tiny
        source: {generator: demo, part: preferences, rows: 9}
        processing:
          {processing_function: labelled_processing_function, max_length: 16, max_prompt_length: 8}
        """,
    "runs/pre.yaml": f"{{base: tiny, dataset: text, trainer: trainer, deepspeed: zero2, training: {TRAINING}}}",
    "runs/taken.yaml": f"{{base: pre, dataset: elsewhere, trainer: sft, training: {TRAINING}}}",
    "runs/sft.yaml": f"""
        base: pre
        dataset: mixed
        trainer: sft
        training: {TRAINING}
        peft: {{r: 2}}
        quantization: {{load_in_4bit: true}}
        generation: {{max_new_tokens: 4}}
        evaluation: {{metrics: [perplexity, preference, exact_match], base: true, preference_dataset: pairs}}
        lm_eval: {{tasks: [tiny], include_path: config/tasks}}
        gates: {{exact_match: ">= 0.5", harness.tiny.acc: ">= 0.5"}}
        """,
    "runs/predicting.yaml": f"""
        base: tiny
        dataset: mixed
        trainer: seq2seq
        training: {TRAINING.replace("}", ", predict_with_generate: true}")}
        generation: {{max_new_tokens: 4}}
        evaluation: {{metrics: [exact_match], against: [sft], win_by: exact_match}}
        """,
    "runs/sft-again.yaml": f"""
        base: pre
        dataset: mixed
        trainer: sft
        training: {TRAINING}
        generation: {{max_new_tokens: 4}}
        evaluation: {{metrics: [exact_match]}}
        lm_eval: {{tasks: [tiny], include_path: config/tasks}}
        gates: {{exact_match: not worse than sft by 0.1, harness.tiny.acc: not worse than sft by 0.1}}
        """,
    "runs/harnessed.yaml": """
        base: tiny
        lm_eval: {tasks: [tiny], include_path: config/tasks}
        gates: {harness.tiny.acc: ">= 0.5"}
        """,
    "datasets/arc.yaml": "source: {hub: allenai/ai2_arc, config: ARC-Easy}",
    "runs/standard.yaml": "{base: tiny, lm_eval: {tasks: [arc_easy], datasets: [arc]}}",
    "runs/dpo.yaml": f"""
        base: sft
        dataset: pairs
        trainer: dpo
        training: {TRAINING}
        generation: {{prompts_file: config/prompts.jsonl}}
        evaluation: {{metrics: [repetition], base: true}}
        lm_eval: {{tasks: [tiny], include_path: config/tasks, base: true}}
        gates: {{repetition.loops: "<= 0.5"}}
        """,
    "runs/packing.yaml": f"""
        base: pre
        dataset: mixed
        trainer: sft
        training: {TRAINING.replace("}", ", packing: true}")}
        """,
    "runs/joining.yaml": f"""
        base: pre
        dataset: text
        trainer: trainer
        training: {TRAINING.replace("}", ", seq_length: 8}")}
        """,
    "runs/adapted.yaml": f"""
        base: pre
        dataset: pairs
        trainer: dpo
        deepspeed: zero2
        training: {TRAINING.replace("}", ", reference: scores}")}
        peft: {{r: 2}}
        quantization: {{load_in_4bit: true}}
        """,
    "runs/of-fetched.yaml": "{base: fetched, generation: {prompts_file: config/prompts.jsonl}}",
    "runs/of-changed.yaml": "{base: changed, generation: {prompts_file: config/prompts.jsonl}}",
    "runs/scored.yaml": "{base: pre, dataset: text, evaluation: {metrics: [perplexity]}}",
    "runs/judged.yaml": f"""
        base: pre
        dataset: mixed
        trainer: grpo
        training: {REWARDED.replace("exact_match", "reward_model, reward_model: reward-too")}
        """,
    "runs/rewarded-dpo.yaml": f"""
        base: pre
        dataset: pairs
        trainer: dpo
        training: {TRAINING}
        generation: {{prompts_file: config/prompts.jsonl}}
        evaluation: {{metrics: [reward], reward_model: reward-too, base: true}}
        """,
    "runs/rewarded.yaml": "{base: pre, dataset: text, generation: {prompts_file: config/prompts.jsonl}, "
    "evaluation: {metrics: [reward], reward_model: reward-too}}",
}
EVERYTHING |= {
    f"runs/{name}-too.yaml": f"{{base: tiny, dataset: {DATASETS[entry.row_kinds[0]]}, trainer: {name}, "
    f"training: {REWARDED if entry.rewarded else TRAINING}}}"
    for name, entry in TRAINERS.items()
}
"""A project with a stage of every kind, each in all the forms that its command can take."""


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> list[Stage]:
    root = tmp_path_factory.mktemp("everything")
    for name, text in EVERYTHING.items():
        file = root / "config" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(dedent(text))
    return list(build_graph(load_project(root, None)).stages.values())


def test_there_is_a_rule_for_every_kind_and_the_project_has_them_all(stages: list[Stage]):
    assert set(RULES) == set(KINDS) == {stage.kind for stage in stages}
    assert {entry.script for entry in TRAINERS.values()} <= {
        flags_of(stage.cmd)["program"].split()[-1] for stage in stages
    }


@pytest.mark.parametrize("kind", KINDS)
def test_a_rules_docstring_has_the_form_of_its_commands(stages: list[Stage], kind: str):
    """`…` for values, [ ] round a flag that is not in all of them, { } round the names of several scripts."""
    commands = [stage.cmd for stage in stages if stage.kind == kind]
    program, *words = re.split(r" (?=\[?--)", " ".join(RULES[kind].partition("\n\n")[2].split()))
    assert program == program_of(commands)
    shown = {word.strip("[]").removesuffix(" …"): word for word in words}
    flags = [[word for word in shlex.split(command) if word.startswith("--")] for command in commands]
    assert shown == {
        flag: f"{flag} …" if all(flag in found for found in flags) else f"[{flag} …]"
        for flag in dict.fromkeys(flag for found in flags for flag in found)
    }
    for found in flags:
        assert found == [flag for flag in shown if flag in found]


def program_of(commands: list[str]) -> str:
    """Return how the commands begin, the names of their scripts together."""
    programs = [flags_of(command)["program"].split() for command in commands]
    (starter,) = {tuple(program[:-1]) for program in programs}
    scripts = {Path(program[-1]).stem for program in programs}
    scripts = sorted(scripts, key=ORDER.index) if len(scripts) > 1 else [*scripts]
    return " ".join([*starter, f"scripts/{scripts[0] if len(scripts) == 1 else '{' + ','.join(scripts) + '}'}.py"])


@pytest.mark.parametrize("kind", KINDS)
def test_a_rules_docstring_names_the_sections_that_it_reads(stages: list[Stage], kind: str):
    read = {name for stage in stages if stage.kind == kind for names in stage.params.values() for name in names}
    assert set(re.findall(r"`(\w+)`", RULES[kind])) == read
