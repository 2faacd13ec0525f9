"""Replicas of the hub datasets that standard tasks read: their configurations, splits and columns, and few rows."""

import io
import json
from typing import Any

import datasets

NUMBERS = [("two", "three", "5"), ("one", "four", "5"), ("two", "two", "4"), ("one", "one", "2"), ("six", "one", "7")]
SUMS = [{"question": f"What is {a} and {b}?", "answer": f"It is easy.\n#### {c}"} for a, b, c in NUMBERS]
COLOURS = [
    {"id": f"{index}", "question": f"Which is like {thing}?", "answerKey": "AB"[index % 2],
     "choices": {"text": ["red", "green", "blue"], "label": ["A", "B", "C"]}}
    for index, thing in enumerate(("blood", "grass", "fire", "a leaf"))
]  # fmt: skip
SUBJECT = [
    {
        "question": f"Where is the {part}?",
        "subject": "anatomy",
        "choices": ["Here", "There", "Up", "Down"],
        "answer": n % 4,
    }
    for n, part in enumerate(("heart", "hand", "head", "foot", "eye"))
]
SUBJECT_FEATURES = datasets.Features(
    question=datasets.Value("string"),
    subject=datasets.Value("string"),
    choices=datasets.List(datasets.Value("string")),
    answer=datasets.ClassLabel(names=["A", "B", "C", "D"]),
)
ENDINGS = [
    {"ind": n, "activity_label": "Baking", "ctx_a": "A man bakes.", "ctx_b": "he", "ctx": "A man bakes. he",
     "endings": ["eats it.", "[title] flies.", "sleeps.", "sings."], "source_id": "", "split": "val", "split_type": "",
     "label": str(n % 4)}
    for n in range(3)
]  # fmt: skip
MYTHS = [
    {"question": f"Can {who} fly?", "mc1_targets": {"choices": ["No", "Yes"], "labels": [1, 0]},
     "mc2_targets": {"choices": ["No", "Never", "Yes"], "labels": [1, 1, 0]}}
    for who in ("pigs", "cows", "cats")
]  # fmt: skip
ANSWERS = [
    {"type": "", "category": "", "question": row["question"], "best_answer": "No", "correct_answers": ["No", "Never."],
     "incorrect_answers": ["Yes"], "source": ""}
    for row in MYTHS
]  # fmt: skip
INSTRUCTIONS = [
    {"key": 1, "prompt": "Use no comma.", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]},
    {"key": 2, "prompt": "At least three sentences.", "instruction_id_list": ["length_constraints:number_sentences"],
     "kwargs": [{"relation": "at least", "num_sentences": 3}]},
]  # fmt: skip


def parquet(rows: list[dict], features: datasets.Features | None = None) -> bytes:
    buffer = io.BytesIO()
    datasets.Dataset.from_list(rows, features=features).to_parquet(buffer)
    return buffer.getvalue()


def repository(configurations: dict[str, dict[str, bytes]], folders: bool = True) -> dict[str, bytes]:
    """Return the files of a repository, with a card that declares configuration → split → content, as parquet."""
    files, declared = {}, []
    for config, splits in configurations.items():
        paths = {split: f"{config if folders else 'data'}/{split}-00000-of-00001.parquet" for split in splits}
        files |= {paths[split]: content for split, content in splits.items()}
        entries = [{"split": split, "path": path.replace("00000-of-00001", "*")} for split, path in paths.items()]
        declared.append({"config_name": config, "data_files": entries})
    return files | {"README.md": f"---\n{json.dumps({'configs': declared})}\n---\n".encode()}


REPOSITORIES = {
    "openai/gsm8k": repository({"main": {"train": parquet([*SUMS, *SUMS]), "test": parquet(SUMS)}, "socratic": {}}),
    "allenai/ai2_arc": repository(
        {
            name: {split: parquet(COLOURS) for split in ("train", "validation", "test")}
            for name in ("ARC-Easy", "ARC-Challenge")
        }
    ),
    "cais/mmlu": repository(
        {
            name: {split: parquet(SUBJECT, SUBJECT_FEATURES) for split in ("test", "validation", "dev")}
            for name in ("anatomy", "astronomy")
        }
    ),
    "Rowan/hellaswag": repository(
        {"default": {"train": parquet(ENDINGS), "validation": parquet(ENDINGS)}}, folders=False
    ),
    "truthfulqa/truthful_qa": repository(
        {"generation": {"validation": parquet(ANSWERS)}, "multiple_choice": {"validation": parquet(MYTHS)}}
    ),
    "google/IFEval": {"ifeval_input_data.jsonl": "".join(json.dumps(row) + "\n" for row in INSTRUCTIONS).encode()},
}
SOURCES: dict[str, dict[str, Any]] = {
    "gsm8k": {"hub": "openai/gsm8k", "config": "main"},
    "arc": {"hub": "allenai/ai2_arc", "configs": ["ARC-*"]},
    "mmlu": {"hub": "cais/mmlu", "configs": ["*"]},
    "hellaswag": {"hub": "Rowan/hellaswag"},
    "truthfulqa": {"hub": "truthfulqa/truthful_qa", "configs": ["*"]},
    "ifeval": {"hub": "google/IFEval"},
}
"""File in config/datasets/ → its `source:`, but for the revision."""
TASKS = ["gsm8k", "arc_easy", "arc_challenge", "mmlu_anatomy", "hellaswag", "truthfulqa", "ifeval"]
