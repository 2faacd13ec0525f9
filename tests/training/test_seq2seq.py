"""Encoder-decoder models and Seq2SeqTrainer: exact losses, answers to the prompts alone, the same on 1 and 2 ranks."""

import json
import math
import subprocess
import sys

import on_ranks
import pytest
import torch
from accelerate import PartialState
from training_workplace import MODEL_CONFIG, ROOT, TRAINING, chats, environment, tree
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
)

from heirloom.config.sections.generation import GenerationSection
from heirloom.config.trainers.seq2seq import SEQ2SEQ
from heirloom.data.processed_dataset import load_split
from heirloom.errors import HeirloomError
from heirloom.inference.engines import load_answerer
from heirloom.inference.prompts import read_prompts
from heirloom.training.inputs.training_command import read_command
from heirloom.training.inputs.training_data import TrainingData, check_rows
from heirloom.training.losses.generated_evaluation import held_out_answers
from heirloom.training.training_arguments import trainer_arguments
from seq2seq_train import BY_SECTION

SCRIPTS = ROOT / "scripts"
HELD_OUT = 11  # no multiple of 2 ranks × 4 rows
T5_CONFIG = {
    "init": {
        "model_type": "t5",
        "d_model": 32,
        "d_kv": 16,
        "d_ff": 64,
        "num_layers": 2,
        "num_heads": 2,
        "dropout_rate": 0.0,
        "initializer_factor": 1.0,
        "seed": 3,
    }
}
PROCESSING = {"max_length": 64, "chat_template": "template.jinja"}


@pytest.fixture(scope="module")
def place(workplace):
    """The workplace with a T5 and datasets of chats and of sources and targets, all made by the scripts."""
    folder = workplace.folder
    workplace.launch(
        *("python", str(SCRIPTS / "create_model.py"), "--config", workplace.config("t5.yaml", **T5_CONFIG)),
        *("--sections", "init", "--tokenizer", "tokenizer", "--output", "t5"),
    )
    pairs = [(prompt, answer) for prompt, answer in chats(120, seed=4)]
    make_dataset(workplace, "prompts-chat", pairs)
    make_dataset(workplace, "prompts-seq2seq", pairs)
    others = [(prompt, [{**answer[0], "content": "Nobody knows."}]) for prompt, answer in pairs]
    make_dataset(workplace, "prompts-other-answers", others)
    assert MODEL_CONFIG["init"]["model_type"] == "llama"  # `model`: the decoder-only one
    return folder


def make_dataset(workplace, name, pairs):
    """Process prompts and answers, the last HELD_OUT as test rows, as chats or as sources and targets."""
    seq2seq = name.endswith("seq2seq")
    raw = workplace.folder / "raw" / name
    raw.mkdir()
    for split, rows in (("train", pairs[:-HELD_OUT]), ("test", pairs[-HELD_OUT:])):
        lines = [
            {"source": prompt[0]["content"], "target": answer[0]["content"]}
            if seq2seq
            else {"messages": prompt + answer}
            for prompt, answer in rows
        ]
        (raw / f"{split}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    function = "seq2seq_processing_function" if seq2seq else "dummy_processing_function"
    section = {"max_length": 64} if seq2seq else PROCESSING
    config = workplace.config(f"{name}.yaml", processing={"processing_function": function, **section})
    workplace.launch(
        *("python", str(SCRIPTS / "create_dataset.py"), "--config", config, "--sections", "processing"),
        *("--raw", f"raw/{name}", "--tokenizer", "tokenizer", "--output", name, "--statistics", f"raw/{name}.json"),
    )


@pytest.fixture(scope="module")
def ranks(place, tmp_path_factory):
    """The results of on_ranks.py on one rank, in this process, and on two."""
    work = tmp_path_factory.mktemp("ranks")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    program = [str(ROOT / "tests" / "training" / "on_ranks.py"), str(place), str(work / "two.json")]
    two = subprocess.Popen(
        [*command, *program],
        env=environment(OMP_NUM_THREADS="1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    one = on_ranks.everything(place, work / "one")
    said, _ = two.communicate(timeout=240)
    assert two.returncode == 0, said
    return one, json.loads((work / "two.json").read_text())


@pytest.mark.parametrize("name", ["trained bert", "trained t5", "zero2 t5"])
def test_two_ranks_with_two_passes_train_as_one_rank_with_one(ranks, name):
    """The rows have 1 to 9 trained tokens, so that a mean of means would differ too."""
    one, two = ranks[0][name.replace("zero2", "trained")], ranks[1][name]
    assert two["losses"] == pytest.approx(one["losses"], rel=1e-5)
    assert two["grad_norms"] == pytest.approx(one["grad_norms"], rel=1e-4)
    assert two["held_out_loss"] == pytest.approx(one["held_out_loss"], rel=1e-5)
    first = on_ranks.fresh(name.split()[1]).state_dict()
    moved = 0.0
    for weight, values in one["weights"].items():
        torch.testing.assert_close(torch.tensor(two["weights"][weight]), torch.tensor(values), atol=1e-5, rtol=1e-4)
        moved = max(moved, (first[weight].flatten()[:50] - torch.tensor(values)).abs().max().item())
    assert moved > 1e-2


def test_upstream_inflates_what_is_corrected_here(ranks):
    """When this fails, transformers has mended its losses, and heirloom.training.losses.token_mean_loss may go."""
    one, two = (results["upstream t5"] for results in ranks)
    assert two["losses"][0] > 3 * one["losses"][0] and two["grad_norms"][0] > 1.5 * one["grad_norms"][0]


def test_held_out_loss_of_an_encoder_decoder_is_the_mean_over_tokens(place, ranks):
    model = on_ranks.lively(AutoModelForSeq2SeqLM.from_pretrained(place / "t5"))
    total = tokens = 0
    for row in load_split(place / "prompts-seq2seq", "test"):
        with torch.no_grad():
            loss = model(input_ids=torch.tensor([row["input_ids"]]), labels=torch.tensor([row["labels"]])).loss.item()
        total, tokens = total + loss * len(row["labels"]), tokens + len(row["labels"])
    for results in ranks:
        assert results["evaluated seq2seq"]["greedy"]["scores"]["loss"] == pytest.approx(total / tokens, rel=1e-5)


@pytest.mark.parametrize("kind", ["chat", "seq2seq"])
@pytest.mark.parametrize("way", on_ranks.ANSWERING)
def test_each_held_out_prompt_has_one_answer_and_the_same_on_two_ranks(place, ranks, kind, way):
    one, two = (results[f"evaluated {kind}"][way] for results in ranks)
    assert [row["row_id"] for row in one["answers"]] == [f"test.jsonl:{number + 1}" for number in range(HELD_OUT)]
    assert one["answers"] == two["answers"]
    assert one["scores"] == pytest.approx(two["scores"], rel=1e-6)
    assert one["scores"]["gen_len"] > 0 and len({row["completion"] for row in one["answers"]}) > 1


@pytest.mark.parametrize("kind", ["chat", "seq2seq"])
def test_answers_are_those_of_generate_for_each_prompt_alone(place, ranks, kind):
    base, auto = ("model", AutoModelForCausalLM) if kind == "chat" else ("t5", AutoModelForSeq2SeqLM)
    model = on_ranks.lively(auto.from_pretrained(place / base))
    tokenizer = AutoTokenizer.from_pretrained(place / base)
    rows = ranks[0][f"evaluated {kind}"]["beams"]["answers"][:4]
    for row, prompt in zip(rows, load_split(place / f"prompts-{kind}", "test")["prompt_ids"][:4], strict=True):
        output = model.generate(torch.tensor([prompt]), max_new_tokens=6, num_beams=3, do_sample=False)[0].tolist()
        new = output[1:] if kind == "seq2seq" else output[len(prompt) :]
        assert row["completion"] == tokenizer.decode(new, skip_special_tokens=True)


def test_the_answers_of_a_row_never_reach_the_model(place, tmp_path):
    """Other answers to the same prompts change nothing here; upstream's trainer shows them to the model."""
    model, tokenizer = (auto.from_pretrained(place / "model") for auto in (AutoModelForCausalLM, AutoTokenizer))
    ours, upstream = [], []
    for name in ("prompts-chat", "prompts-other-answers"):
        args = Seq2SeqTrainingArguments(
            output_dir=str(tmp_path), use_cpu=True, predict_with_generate=True, report_to="none", disable_tqdm=True
        )
        answers = held_out_answers(place / name, GenerationSection(max_new_tokens=6), model, tokenizer, args).answers()
        ours.append([row["completion"] for row in answers])
        trainer = Seq2SeqTrainer(
            model, args, data_collator=DataCollatorForSeq2Seq(tokenizer), processing_class=tokenizer
        )
        test = load_split(place / name, "test").select_columns(["input_ids", "labels"])
        upstream.append(tokenizer.batch_decode(trainer.predict(test, max_new_tokens=6).predictions.clip(0)))
    assert ours[0] == ours[1]
    assert "Nobody knows" not in str(upstream[0]) and "Nobody knows" in str(upstream[1])


RUN = {**TRAINING, "global_batch_size": 8, "max_steps": 6, "learning_rate": 1e-2}
GENERATION = {"max_new_tokens": 8, "test_batch_size": 4}


def launched(workplace, output, script, dataset, base, zero, **sections):
    command = workplace.training(script, output, zero=zero, dataset=dataset, base=base, **sections)
    command[command.index("--sections") + 1] = ",".join(name for name in sections if name != "tracking")
    workplace.launch(*command)
    folder = workplace.folder / output
    return json.loads((folder / "metrics.json").read_text()), folder


def test_an_encoder_decoder_trains_alike_by_both_trainers_and_zero_stages(workplace, place):
    predicting = {**RUN, "predict_with_generate": True}
    plain, folder = launched(workplace, "t5/plain", "train.py", "prompts-seq2seq", "t5", "zero3", training=RUN)
    metrics, other = launched(
        workplace,
        *("t5/predicting", "seq2seq_train.py", "prompts-seq2seq", "t5", "zero2"),
        training=predicting,
        generation=GENERATION,
    )
    sampled, _ = launched(
        workplace,
        *("t5/sampled", "seq2seq_train.py", "prompts-seq2seq", "t5", "zero3"),
        training=predicting,
        generation={**GENERATION, "do_sample": True},
    )
    for measured in (metrics, sampled):
        for when in ("before", "after"):
            assert measured[when]["loss"] == pytest.approx(plain[when]["loss"], rel=2e-3)
            assert measured[when].keys() - plain[when].keys() == {"exact_match", "gen_len", "finished"}
    assert plain["after"]["loss"] < plain["before"]["loss"] - 0.5
    assert plain["after"]["perplexity"] == pytest.approx(math.exp(plain["after"]["loss"]), rel=1e-4)
    for checkpoint in (folder / "checkpoint", other / "checkpoint"):
        model = AutoModelForSeq2SeqLM.from_pretrained(checkpoint)
        assert model.generation_config.max_new_tokens is None
        assert model.config.decoder_start_token_id == AutoTokenizer.from_pretrained(checkpoint).pad_token_id
        assert b"lm_head" not in tree(checkpoint)["model.safetensors"]  # tied to the embedding, so saved once
    answerer = load_answerer(checkpoint, GenerationSection.model_validate(GENERATION), PartialState(cpu=True))
    answers = answerer.answer(read_prompts(place / "prompts-seq2seq", None))
    assert sum(row["completion_tokens"] for row in answers) / HELD_OUT == pytest.approx(metrics["after"]["gen_len"])


def test_a_decoder_only_model_is_scored_by_its_answers_on_one_rank_as_on_two(workplace, place):
    sections = {"training": {**RUN, "predict_with_generate": True, "max_steps": 2}, "generation": GENERATION}
    two, folder = launched(workplace, *("chat/two", "seq2seq_train.py", "prompts-chat", "model", "zero2"), **sections)
    command = workplace.training("seq2seq_train.py", "chat/one", dataset="prompts-chat", base="model", **sections)
    command[command.index("--sections") + 1] = "training,generation"
    program = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "1", *command[1:]]
    ended = subprocess.run(
        program, cwd=place, env=environment(OMP_NUM_THREADS="1"), capture_output=True, text=True, timeout=240
    )
    assert ended.returncode == 0, ended.stderr
    one = json.loads((place / "chat" / "one" / "metrics.json").read_text())
    for when in ("before", "after"):
        assert one[when] == pytest.approx(two[when], rel=1e-3)
    assert 0 < two["before"]["gen_len"] <= 8
    assert "exact_match" in (folder / "loss.csv").read_text().splitlines()[0]


def test_rows_that_the_model_cannot_read_are_refused(place):
    models = {
        "chat": AutoModelForSeq2SeqLM.from_pretrained(place / "t5"),
        "seq2seq": AutoModelForCausalLM.from_pretrained(place / "model"),
    }
    for kind, said in (("chat", "is an encoder-decoder model .*holds chat rows"), ("seq2seq", "is no encoder-decoder")):
        with pytest.raises(HeirloomError, match=said):
            check_rows(TrainingData(kind, 64, train=None, test=None), models[kind], place / "base")


@pytest.mark.parametrize(
    ("sections", "flags", "said"),
    [
        ({"training": {**RUN, "predict_with_generate": True}}, (), "needs the section `generation:`"),
        ({"training": RUN, "generation": {}}, ("--sections", "training,generation"), "no use for generation"),
        ({"training": {**RUN, "generation_num_beams": 2}}, (), "generation_num_beams cannot be set there"),
        ({"training": RUN}, ("--generation_max_length", "9"), "--generation_max_length: .* is set by the workflow: "),
    ],
)
def test_settings_that_would_have_no_effect_are_refused(workplace, place, monkeypatch, sections, flags, said):
    monkeypatch.chdir(place)
    inputs = ("--dataset", "prompts-chat", "--base", "model", "--output", "refused")
    config = workplace.config("refused.yaml", **sections)
    monkeypatch.setattr(sys, "argv", ["seq2seq_train.py", "--config", config, *inputs, *flags])
    with pytest.raises(HeirloomError, match=said):
        command = read_command(None, SEQ2SEQ, Seq2SeqTrainingArguments, generation=GenerationSection)
        data = TrainingData("chat", 64, train=None, test=None)
        trainer_arguments(Seq2SeqTrainingArguments, command, data, **BY_SECTION)
