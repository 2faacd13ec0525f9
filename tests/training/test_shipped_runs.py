"""The shipped datasets and big runs as `make rehearse` makes them small, on replicas of the hub's rows and tokenizer.

What import_command.py makes of the former tool's README commands stands on them, too.

The replicas have the columns and types of the repositories that config/ names: HuggingFaceH4/no_robots (prompt,
prompt_id, messages, category), trl-internal-testing/hh-rlhf-helpful-base-trl-style (prompt a text, chosen and rejected
whole conversations that begin with it), a tokenizer with the special tokens of Llama 3 and its first token, and one
with those of Qwen3 and its chat template.
"""

import io
import json
import shlex
from importlib.resources import files

import datasets
import pytest
from accelerate import PartialState
from loopback_hub import LoopbackHub
from safetensors.torch import load_file
from tokenizers.processors import TemplateProcessing
from training_workplace import ROOT, Workplace, chats
from transformers import LlamaConfig, PreTrainedTokenizerFast, Qwen3Config

from heirloom.config.parsing.reading import read_yaml
from heirloom.config.project import load_project
from heirloom.evaluation.likelihoods.perplexity import perplexity_scores, row_likelihoods
from heirloom.migration.commands import commands_in
from heirloom.migration.imported_files import imported
from heirloom.models.tokenizer_training import train_bpe
from pipeline.graph.graph import build_graph

TOKENS = ["<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>", "<|start_header_id|>"]
TOKENS += ["<|end_header_id|>", "<|eot_id|>"]
VOCABULARY = 300
SHORT = {"max_steps": 2, "global_batch_size": 8, "learning_rate": 1e-3}
QWEN_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>"]
ONE_GPU = ("qwen3-sft", "qwen3-dpo", "llama3-qlora")
SHIPPED = ("llama3-sft", "llama3-dpo", "llama3-orpo", "llama3-kto", "llama3-reward", "llama3-grpo", *ONE_GPU)
ADAPTERS = ("llama3-orpo", "llm-rlhf", "qwen3-dpo", "llama3-qlora", "llama3-grpo")
"""Those whose checkpoint is an adapter alone."""
FORMER = {
    "llm-training": ("create_dataset", "training"),
    "llm-rlhf": ("rlhf",),
    "llm-inference": ("inference",),
}
"""The runs that the former tool's README commands become, and the scripts (tests/unit/former_commands)."""
REPLICAS = {
    "models/meta-llama-3-8b-instruct": "models/llama3-8b",
    "data/processed/no_robots": "data/processed/no-robots",
    "data/processed/llm-inference-data": "data/processed/no-robots",
    "data/processed/llm-rlhf-data": "data/processed/hh-helpful",
}
"""What these runs stand on, and what stands in its place here."""


def parquet(rows: list[dict]) -> bytes:
    buffer = io.BytesIO()
    datasets.Dataset.from_list(rows).to_parquet(buffer)
    return buffer.getvalue()


def no_robots(count: int, seed: int) -> bytes:
    rows = []
    for index, (question, answer) in enumerate(chats(count, seed)):
        system = [{"role": "system", "content": "You are brief."}] if index % 4 == 0 else []
        prompt = question[0]["content"]
        messages = [*system, *question, *answer]
        rows.append({"prompt": prompt, "prompt_id": f"{index:064x}", "messages": messages, "category": "Closed QA"})
    return parquet(rows)


def helpful(count: int, seed: int) -> bytes:
    """Rows as the generating script of TRL writes them: the prompt is what the first message says."""
    rows = []
    for question, answer in chats(count, seed):
        curt = [{"role": "assistant", "content": "No."}]
        rows.append({"prompt": question[0]["content"], "chosen": question + answer, "rejected": question + curt})
    return parquet(rows)


def llama3(folder) -> dict[str, bytes]:
    """Return what a rehearsal fetches of Llama 3 8B: its real sizes, and a tokenizer that begins texts as its does."""
    texts = [message["content"] for pair in chats(60, 0) for messages in pair for message in messages]
    backend = train_bpe(texts, VOCABULARY, TOKENS)
    begin = ("<|begin_of_text|>", backend.token_to_id("<|begin_of_text|>"))
    single, pair = f"{begin[0]} $A", f"{begin[0]} $A $B"
    backend.post_processor = TemplateProcessing(single=single, pair=pair, special_tokens=[begin])
    roles = {"bos_token": "<|begin_of_text|>", "eos_token": "<|end_of_text|>"}
    PreTrainedTokenizerFast(tokenizer_object=backend, **roles).save_pretrained(folder)
    sizes = {
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "max_position_embeddings": 8192,
    }
    LlamaConfig(vocab_size=VOCABULARY, dtype="bfloat16", **sizes).save_pretrained(folder)
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def qwen3(folder) -> dict[str, bytes]:
    """Return the same of Qwen3 0.6B."""
    texts = [message["content"] for pair in chats(60, 0) for messages in pair for message in messages]
    roles = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=train_bpe(texts, VOCABULARY, QWEN_TOKENS), **roles)
    tokenizer.chat_template = (files("trl") / "chat_templates/qwen3.jinja").read_text()
    tokenizer.save_pretrained(folder)
    sizes = {"hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16}
    sizes |= {"num_key_value_heads": 8, "head_dim": 128, "tie_word_embeddings": True}
    Qwen3Config(vocab_size=VOCABULARY, dtype="bfloat16", **sizes).save_pretrained(folder)
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Workplace:
    """A rehearsal's folder with the shipped datasets, the stand-in and what two steps of the big runs train."""
    folder = tmp_path_factory.mktemp("shipped")
    place = Workplace(folder, warm=True)
    project = load_project(ROOT, None)
    hub = LoopbackHub()
    for name, rows in (("no-robots", no_robots), ("hh-helpful", helpful)):
        parts = {
            f"data/{split}-00000-of-00001.parquet": rows(*size)
            for split, size in {"train": (40, 1), "test": (8, 2)}.items()
        }
        source = project.datasets[name].source
        hub.add(source.hub, parts, commit=None if source.revision == "main" else source.revision)
    for name, files_of in (("llama3-8b", llama3), ("qwen3-0-6b", qwen3)):
        source = project.models[name].source
        hub.add(source.hub, files_of(tmp_path_factory.mktemp(name)), "model", commit=source.revision)
    with hub:
        reach = {"HF_ENDPOINT": hub.url, "HF_HOME": str(folder / "hf"), "HF_HUB_OFFLINE": "0", "HF_TOKEN": ""}
        reach |= {"HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1"}
        said = place.run(
            str(ROOT / "scripts/rehearse.py"), *SHIPPED, "--prepare", "--folder", str(folder), **reach
        ).stdout
    commands = [shlex.split(line)[3:] for line in said.splitlines() if line.startswith("python scripts/launch.py")]
    made_first = [words for words in commands if words[0].startswith("scripts/create_") and "_report" not in words[0]]
    (folder / "programs.json").write_text(json.dumps(made_first))
    place.run(str(ROOT / "tests/training/programs_in_turn.py"), "programs.json")

    trained = [
        learning(place, words) if "_train.py" in words[0] else [str(ROOT / words[0]), *words[1:]]
        for words in commands
        if "_train.py" in words[0] or "score_reference" in words[0]
    ]
    trained.append(learning(place, next(words for words in trained if "checkpoints/llama3-sft" in words), "sft-zero2"))
    trained += (former(place, name, tmp_path_factory.mktemp(name)) for name in FORMER)
    (folder / "said").write_text(place.torchrun("many_trainings.py", [{"arguments": words} for words in trained]))
    return place


def learning(place: Workplace, words: list[str], zero2: str | None = None) -> list[str]:
    """Return a training's command with a rate at which two steps teach something; under another name at ZeRO-2."""
    run = read_yaml(place.folder / words[2])
    run["training"] |= {"learning_rate": 1e-3, "global_batch_size": 8}
    run["training"].pop("warmup_steps", None)
    (place.folder / words[2]).write_text(json.dumps(run))
    words = [str(ROOT / "scripts" / words[0].rpartition("/")[2]), *words[1:]]
    if "--tried_rewards" in words:  # by a program of its own; without its file the training tries them
        at = words.index("--tried_rewards")
        words = [*words[:at], *words[at + 2 :]]
    if zero2:
        words = [word.replace("zero3", "zero2") for word in words]
        words = [word if word.startswith("config") else word.replace("llama3-sft", zero2) for word in words]
    return words


def former(place: Workplace, name: str, root) -> list[str]:
    """Import commands of the former tool; return the run's first command in the graph of what they became.

    Of the run only that is changed which needs another machine or model: its length, 16 bits, the names of layers that
    no Llama has (which the importer tells), the id of Llama 3's end of turn, S3.
    """
    (root / "config").mkdir()
    (root / "config" / "deepspeed").symlink_to(ROOT / "config" / "deepspeed")
    scripts = [ROOT / "tests" / "unit" / "former_commands" / f"{script}.sh" for script in FORMER[name]]
    written, _ = imported(
        [command for script in scripts for command in commands_in(script.read_text(), script.name)], None
    )
    for path, value in written.items():
        (root / path).parent.mkdir(exist_ok=True)
        (root / path).write_text(json.dumps(value))
    kind = "train" if "trainer" in written[f"config/runs/{name}.yaml"] else "generate"
    words = shlex.split(build_graph(load_project(root, None)).stages[f"{kind}-{name}"].cmd)[3:]

    run = written[f"config/runs/{name}.yaml"]
    if kind == "train":
        run["training"] = {
            key: value for key, value in run["training"].items() if key not in ("fp16", "num_train_epochs")
        }
        run["training"] |= SHORT
        run.get("peft", {})["target_modules"] = "q_proj,v_proj,k_proj"
    else:
        run["generation"] |= {"eos_tokens": "<|eot_id|>", "max_new_tokens": 4, "default_dtype": "float32"}
        del run["tracking"]["s3_upload_dir"]
    words[words.index("--config") + 1] = place.config(f"{name}.yaml", **run)
    return [str(ROOT / words[0]), *(REPLICAS.get(word, word) for word in words[1:])]


@pytest.mark.parametrize("name", ["no-robots", "hh-helpful", "no-robots-qwen3", "hh-helpful-qwen3"])
def test_a_shipped_dataset_is_built_from_the_rows_that_its_repository_has(made, name):
    statistics = json.loads((made.folder / "metrics" / "data" / f"{name}.json").read_text())
    rows = {split: (facts["rows_in"], facts["rows_out"]) for split, facts in statistics.items()}
    assert rows == {"train": (16, 16), "test": (8, 8)}


def measured(made: Workplace, name: str) -> dict:
    return json.loads((made.folder / "metrics" / "training" / f"{name}.json").read_text())


def test_an_output_layer_of_its_own_is_trained_under_zero3_as_under_zero2(made):
    """TRL multiplies with its weights outside of the layer; ZeRO-3 then failed in the first backward pass."""
    zero3, zero2 = measured(made, "llama3-sft"), measured(made, "sft-zero2")
    assert zero3["before"] == zero2["before"]
    assert zero3["after"]["loss"] == pytest.approx(zero2["after"]["loss"], abs=0.01)  # in bfloat16
    assert zero3["before"]["loss"] - zero3["after"]["loss"] > 0.2


@pytest.mark.parametrize("name", [*SHIPPED, "llm-training", "llm-rlhf"])
def test_a_run_trains_two_steps(made, name):
    metrics, said = measured(made, name), (made.folder / "said").read_text()[-3000:]
    if name == "llama3-grpo":  # two steps need not change an answer, but what they learn begins as zeros
        adapter = load_file(made.folder / "checkpoints" / name / "adapter_model.safetensors")
        learned = [weights for key, weights in adapter.items() if "lora_B" in key]
        assert learned and all(weights.any() for weights in learned), said
    else:
        assert metrics["after"]["loss"] < metrics["before"]["loss"], said
    losses = (made.folder / "metrics" / "loss" / f"{name}.csv").read_text().splitlines()
    assert len([line for line in losses[1:] if line]) >= 2
    weights = "adapter_model" if name in ADAPTERS else "model"
    assert (made.folder / "checkpoints" / name / f"{weights}.safetensors").is_file()


def test_the_shipped_run_that_only_scores_has_something_to_score(made):
    model, rows = (made.folder / path for path in ("models/llama3-8b", "data/processed/no-robots"))
    scores = perplexity_scores(row_likelihoods(model, rows, 8, PartialState(cpu=True)))
    assert 100 < scores.nested()["perplexity"] < 1000  # a model of 300 tokens that has learned nothing


def test_an_imported_inference_answers_every_prompt(made):
    lines = (made.folder / "generations" / "llm-inference" / "generations.jsonl").read_text().splitlines()
    assert len(lines) == 8, (made.folder / "said").read_text()[-3000:]
    assert all(0 < json.loads(line)["completion_tokens"] <= 4 for line in lines)
