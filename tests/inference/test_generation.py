"""Answers: what transformers itself would give, the same from any number of ranks, and none lost by a kill."""

import json
import os
import runpy
import sys
from pathlib import Path

import pytest
import torch
from accelerate import PartialState
from tiny_place import PROMPTS, SCRIPTS
from transformers import AutoModelForCausalLM, AutoTokenizer

from heirloom.config.sections.generation import GenerationSection
from heirloom.errors import HeirloomError
from heirloom.inference.engines import load_answerer
from heirloom.inference.generation_journal import Journal, job_description
from heirloom.inference.prompts import check_lengths, into_batches, read_prompts
from heirloom.models.weights import weights_hash

SAMPLED = {"max_new_tokens": 12, "test_batch_size": 3, "do_sample": True, "top_k": 40, "top_p": 0.95, "seed": 5}


def answers(place, options: dict, limit: int | None = None) -> list[dict]:
    """Return the rows of answers in dataset order, made in this process."""
    section = GenerationSection.model_validate(options)
    answerer = load_answerer(place.folder / "model", section, PartialState(cpu=True))
    batches = into_batches(read_prompts(place.folder / "chats", limit), section.test_batch_size)
    rows = [row for batch in batches for row in answerer.answer(batch)]
    return sorted(rows, key=lambda row: int(row["row_id"].partition(":")[2]))


def logprob_by_hand(model, prompt: list[int], completion: list[int]) -> float:
    """Return the sum of the log-probabilities of the completion's tokens, from one sequence without padding."""
    with torch.no_grad():
        scores = model(torch.tensor([[*prompt, *completion]])).logits[0].double().log_softmax(-1)
    return sum(scores[len(prompt) - 1 + index, token].item() for index, token in enumerate(completion))


def completions(place, options: dict, limit: int | None = None) -> list[str]:
    return [row["completion"] for row in answers(place, options, limit)]


@pytest.fixture(scope="module")
def sampled(place):
    """Sampled answers, made by one rank."""
    place.run(*place.inference(place.config("sampled", generation=SAMPLED), "sampled"))
    return place.folder / "sampled"


def test_greedy_answers_are_those_of_each_prompt_alone(place):
    config = place.config("greedy", generation={"max_new_tokens": 12, "test_batch_size": 4})
    done = place.run(*place.inference(config, "greedy"))
    assert "answers 13/13 on rank 0 of 1" in done.stdout
    assert "tokens/s" in done.stdout

    model = AutoModelForCausalLM.from_pretrained(place.folder / "model")
    tokenizer = AutoTokenizer.from_pretrained(place.folder / "model")
    rows = place.generations("greedy")
    assert [row["row_id"] for row in rows] == [f"test.jsonl:{index + 1}" for index in range(PROMPTS)]
    for row in rows:
        ids = tokenizer(row["prompt"], return_tensors="pt")["input_ids"]
        new = model.generate(ids, max_new_tokens=12, do_sample=False)[0, ids.shape[1] :].tolist()
        ended = 0 in new
        new = new[: new.index(0)] if ended else new
        assert row == {
            "row_id": row["row_id"],
            "sample": 0,
            "dataset": "chats",
            "checkpoint": weights_hash(place.folder / "model"),
            "prompt": row["prompt"],
            "completion": tokenizer.decode(new, skip_special_tokens=True),
            "reference": "A kite.",
            "finish_reason": "stop" if ended else "length",
            "prompt_tokens": ids.shape[1],
            "completion_tokens": len(new),
            "logprob": pytest.approx(logprob_by_hand(model, ids[0].tolist(), new), abs=1e-3),
        }
    assert len({row["completion"] for row in rows}) > PROMPTS // 2


@pytest.mark.parametrize(
    ("options", "recorded"),
    [
        ({}, True),
        ({"do_sample": True, "top_k": 50, "no_repeat_ngram_size": 2, "num_beams": 1, "use_cache": False}, True),
        ({"stop_strings": ["e"]}, True),
        ({"repetition_penalty": 2.0}, False),
        ({"num_beams": 2}, False),
    ],
    ids=str,
)
def test_log_probabilities_are_kept_on_the_way_where_the_model_is_asked_first(place, options, recorded):
    """Those of a pass over prompt and answer, which is made where something changes a step's scores before."""
    many_end = {"eos_tokens": ",".join(map(str, range(0, 280, 12)))}  # answers of unequal length
    section = GenerationSection.model_validate({"max_new_tokens": 12, "test_batch_size": 5, **many_end, **options})
    answerer = load_answerer(place.folder / "model", section, PartialState(cpu=True))
    assert answerer.records == recorded
    batch = read_prompts(place.folder / "chats", 5)
    rows = answerer.answer(batch)
    answerer.records = False
    for row, wanted in zip(rows, answerer.answer(batch), strict=True):
        assert row == wanted | {"logprob": pytest.approx(wanted["logprob"], abs=2e-4)}  # four decimals are told
    assert len({row["completion_tokens"] for row in rows}) > 1


def test_two_ranks_give_the_same_bytes_as_one(place, sampled):
    place.run(*place.inference(place.folder / "sampled.yaml", "two-ranks"), ranks=2)
    one, two = (folder / "generations.jsonl" for folder in (sampled, place.folder / "two-ranks"))
    assert one.read_bytes() == two.read_bytes()


def test_a_sample_belongs_to_its_prompt_and_seed(place, sampled):
    """Other neighbours in the batch change nothing; another seed does."""
    expected = [row["completion"] for row in place.generations("sampled")]
    assert completions(place, SAMPLED | {"test_batch_size": 7}, limit=8) == expected[:8]
    other = completions(place, SAMPLED | {"seed": 6})
    assert sum(a != b for a, b in zip(other, expected, strict=True)) > PROMPTS // 2


@pytest.mark.parametrize(
    "options",
    [
        {"min_length": 40},
        {"no_repeat_ngram_size": 1},
        {"encoder_repetition_penalty": 1.5},
        {"encoder_no_repeat_ngram_size": 2},
        {"repetition_penalty": 2},
        {"min_length": 40, "no_repeat_ngram_size": 2, "do_sample": True},
        {"min_length": 40, "no_repeat_ngram_size": 2, "num_beams": 2},
    ],
    ids=str,
)
def test_options_that_look_at_prompts_do_not_see_padding(place, options):
    """Nor where the end token pads. Without sampling, plain `generate` gives the same of each prompt alone."""
    found = []
    for size in (1, PROMPTS):
        section = GenerationSection.model_validate({"max_new_tokens": 16, "test_batch_size": size, **options})
        answerer = load_answerer(place.folder / "model", section, PartialState(cpu=True))
        answerer.pad_id = answerer.end_ids[0]
        prompts = read_prompts(place.folder / "chats", None)
        batches = into_batches(prompts, size)
        rows = {row["row_id"]: row for batch in batches for row in answerer.answer(batch)}
        found.append([(rows[prompt.row_id]["completion"], rows[prompt.row_id]["finish_reason"]) for prompt in prompts])
    assert found[0] == found[1]
    if "do_sample" not in options:
        shortest = min(prompts, key=lambda prompt: len(prompt.ids))
        as_floats = {key: float(value) if "penalty" in key else value for key, value in options.items()}
        plain = answerer.model.generate(
            torch.tensor([shortest.ids]), max_new_tokens=16, do_sample=False, pad_token_id=1, **as_floats
        )[0, len(shortest.ids) :].tolist()
        plain = plain[: plain.index(0)] if 0 in plain else plain
        told = answerer.tokenizer.decode(plain, skip_special_tokens=True)
        assert told == found[0][prompts.index(shortest)][0]


def test_a_stop_string_on_the_last_token_is_a_stop(place):
    rows = answers(place, {"max_new_tokens": 6})
    row = next(row for row in rows if row["finish_reason"] == "length" and row["completion"][-1:].isascii())
    stop = row["completion"][-1]
    first = row["completion"].index(stop) == len(row["completion"]) - 1
    (again,) = [
        one for one in answers(place, {"max_new_tokens": 6, "stop_strings": [stop]}) if one["row_id"] == row["row_id"]
    ]
    assert again["finish_reason"] == "stop"
    assert not first or again["completion"] == row["completion"]
    (other,) = [
        one for one in answers(place, {"max_new_tokens": 6, "stop_strings": ["@@"]}) if one["row_id"] == row["row_id"]
    ]
    assert other["finish_reason"] == "length"


def test_special_tokens_are_kept_when_asked_for(place):
    answerer = load_answerer(
        place.folder / "model", GenerationSection(skip_special_tokens=False), PartialState(cpu=True)
    )
    prompt = read_prompts(place.folder / "chats", 1)[0]
    assert answerer.row(prompt, [1, 30], True)["completion"].startswith("<|pad|>")
    answerer.section = GenerationSection()
    assert "<|pad|>" not in answerer.row(prompt, [1, 30], True)["completion"]


def test_a_killed_job_goes_on_where_it_was(place):
    slow = SAMPLED | {"test_batch_size": 1, "max_new_tokens": 60}
    config = place.config("slow", generation=slow)
    command = place.command(*place.inference(config, "killed"), ranks=1)
    journal = place.folder / ".killed.work" / "answers-0-of-1.jsonl"
    place.kill_after(3, journal, command)
    assert not (place.folder / "killed").exists()

    # a mark in a finished answer shows whether it is taken up; a line that was cut short must not be
    header, first, second, third, *_ = journal.read_text(encoding="utf-8").splitlines()
    marked = json.loads(first) | {"completion": "kept from before the kill"}
    journal.write_text("\n".join([header, json.dumps(marked), second, third[:-9]]), encoding="utf-8")
    place.run(*place.inference(config, "killed"))
    for row, clean in zip(place.generations("killed"), answers(place, slow), strict=True):
        changed = {"completion": marked["completion"]} if row["row_id"] == marked["row_id"] else {}
        origin = {"dataset": "chats", "checkpoint": weights_hash(place.folder / "model")}
        # this process may have more threads, which add up in another order
        clean["logprob"] = pytest.approx(clean["logprob"], abs=1e-3)
        assert row == {**origin, **clean, **changed}


def test_finished_answers_count_for_the_same_job_only(tmp_path):
    row = {"row_id": "test.jsonl:1", "sample": 0, "completion": "A kite."}
    Journal(tmp_path, 0, 2, {"identity": "a"}).add([row])
    assert Journal(tmp_path, 0, 2, {"identity": "a"}).rows == {("test.jsonl:1", 0): row}
    assert Journal(tmp_path, 1, 2, {"identity": "a"}).rows == {}
    assert Journal(tmp_path, 0, 1, {"identity": "a"}).rows == {}
    assert Journal(tmp_path, 0, 2, {"identity": "b"}).rows == {}


def test_a_job_is_told_by_identity_or_by_its_options_and_inputs(tmp_path, monkeypatch):
    monkeypatch.delenv("HEIRLOOM_IDENTITY", raising=False)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"1")
    plain = job_description({"seed": 1}, tmp_path)
    assert plain == job_description({"seed": 1}, tmp_path)
    assert plain != job_description({"seed": 2}, tmp_path)
    weights.write_bytes(b"12")
    assert plain != job_description({"seed": 1}, tmp_path)
    prompts = tmp_path / "p.jsonl"
    prompts.write_text('{"prompt": "Ada lost"}')
    before, times = job_description({}, prompts), prompts.stat()
    prompts.write_text('{"prompt": "Bob lost"}')
    os.utime(prompts, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert before != job_description({}, prompts)
    monkeypatch.setenv("HEIRLOOM_IDENTITY", "abc")
    assert job_description({"seed": 1}, tmp_path) == job_description({"seed": 2}, tmp_path) == {"identity": "abc"}


@pytest.fixture
def infer(place, monkeypatch):
    """Return how to run the script in this process, by hand on a file of prompts; it returns the rows."""
    monkeypatch.delenv("HEIRLOOM_IDENTITY", raising=False)
    monkeypatch.delenv("HEIRLOOM_WORK_DIR", raising=False)
    monkeypatch.setenv("RANK", "0")

    def run(name: str, prompts: list[dict], model: str = "model", **generation) -> list[dict]:
        file = place.folder / f"{name}.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in prompts))
        command = place.inference(place.config(name, generation=generation), name, model=model)
        command[command.index("--dataset")] = "--prompts"
        command[command.index(place.folder / "chats")] = file
        monkeypatch.setattr(sys, "argv", list(map(str, command)))
        hook = sys.excepthook
        try:
            runpy.run_path(str(SCRIPTS / "inference.py"), run_name="by hand")["main"]()
        finally:
            sys.excepthook = hook
            torch.use_deterministic_algorithms(False)
        return place.generations(name)

    return run


def test_ids_that_look_like_samples_lose_no_answer(infer):
    prompts = [{"prompt": "Ada found", "id": "q"}, {"prompt": "Bo found a kite.", "id": "q/1"}]
    rows = infer("ids", prompts, max_new_tokens=6, do_sample=True, num_return_sequences=2)
    assert [(row["row_id"], row["sample"], row["prompt"]) for row in rows] == [
        ("q", 0, "Ada found"),
        ("q", 1, "Ada found"),
        ("q/1", 0, "Bo found a kite."),
        ("q/1", 1, "Bo found a kite."),
    ]
    assert len({row["completion"] for row in rows}) == 4  # the seeds differ too


def test_edited_prompts_are_answered_again_and_no_work_is_left(place, infer):
    (first,) = infer("edited", [{"prompt": "Ada found"}], max_new_tokens=4)
    assert not list(place.folder.glob(".edited.*work*"))
    # what a killed run had left: of the prompts as they were, with a mark
    work = place.folder / ".edited.work"
    job = job_description(
        GenerationSection(max_new_tokens=4).model_dump(), place.folder / "model", place.folder / "edited.jsonl"
    )
    Journal(work, 0, 1, job).add([first | {"completion": "of the first file"}])
    (same,) = infer("edited", [{"prompt": "Ada found"}], max_new_tokens=4)
    assert same["completion"] == "of the first file"
    Journal(work, 0, 1, job).add([first | {"completion": "of the first file"}])
    (other,) = infer("edited", [{"prompt": "Bo found a boat"}], max_new_tokens=4)
    assert other["prompt"] == "Bo found a boat" and other["completion"] != "of the first file"
    assert not list(place.folder.glob(".edited.*work*"))


def test_a_text_dataset_is_told_in_one_sentence(place):
    command = place.inference(place.config("plain", generation={"max_new_tokens": 4}), "never")
    command[command.index("--dataset") + 1] = place.folder / "text"
    done = place.run(*command, check=False)
    assert done.returncode == 1
    assert "its text rows have no row_id, prompt, prompt_ids, reference: let generation.dataset name" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (place.folder / "never").exists()


def test_wrong_inputs_name_place_and_remedy(place):
    with pytest.raises(HeirloomError, match="is no processed dataset"):
        read_prompts(place.folder / "nowhere", None)
    with pytest.raises(HeirloomError, match="there is no such folder"):
        load_answerer(place.folder / "nowhere", GenerationSection(), PartialState(cpu=True))
    with pytest.raises(HeirloomError, match=r"holds no model \(no config.json\)"):
        load_answerer(place.folder / "chats", GenerationSection(), PartialState(cpu=True))
    with pytest.raises(HeirloomError, match="transformers refuses these options"):
        load_answerer(
            place.folder / "model", GenerationSection(cache_implementation="nonsense"), PartialState(cpu=True)
        )
    prompts = read_prompts(place.folder / "chats", None)
    check_lengths(prompts, GenerationSection(max_new_tokens=64), 128)
    with pytest.raises(HeirloomError, match="exceed the model's 128 positions: lower max_new_tokens"):
        check_lengths(prompts, GenerationSection(max_new_tokens=120), 128)
    with pytest.raises(HeirloomError, match="generation.max_length 9 counts prompt and answer: raise it"):
        check_lengths(prompts, GenerationSection(max_length=9), 128)


def test_settings_in_the_command_are_those_of_a_file(place, sampled):
    command = place.inference(Path("none"), "settled")
    command[1:5] = ["--generation", json.dumps(SAMPLED)]
    place.run(*command)
    assert place.generations("settled") == place.generations(sampled.name)
    for value, said in (
        ("{max_new_tokens: 4}", "--generation {max_new_tokens: 4}: is no JSON ("),
        ('{"max_new_tokens": 0}', "--generation: max_new_tokens: "),
        ("[]", "--generation: "),
    ):
        command[2] = value
        done = place.run(*command, check=False)
        assert done.returncode == 1 and done.stderr.startswith(f"error: {said}"), done.stderr
    for words, said in (
        (["--config", "run.yaml"], "inference.py needs --config or --generation, one of the two"),
        (["--limit", "3"], "--limit 3: flags are put over a run's file; give --config, or leave them out"),
    ):
        assert said in place.run(*command, *words, check=False).stderr


def test_batches_do_not_depend_on_the_order_of_prompts(place):
    prompts = read_prompts(place.folder / "chats", None)
    batches = into_batches(prompts, 4)
    assert batches == into_batches(prompts[::-1], 4)
    assert sorted(prompt.position for batch in batches for prompt in batch) == list(range(PROMPTS))
    lengths = [len(prompt.ids) for batch in batches for prompt in batch]
    assert lengths == sorted(lengths, reverse=True)


def test_stop_strings_end_an_answer(place):
    greedy = {"max_new_tokens": 12, "test_batch_size": 4}
    longest = max(answers(place, greedy), key=lambda row: row["completion_tokens"])
    stop = next(a for a in longest["completion"] if a.isascii() and a.isalpha())
    row = next(row for row in answers(place, greedy | {"stop_strings": [stop]}) if row["row_id"] == longest["row_id"])
    assert row["completion"] == longest["completion"][: len(row["completion"])]
    assert stop in row["completion"]
    assert row["finish_reason"] == "stop"
    assert row["completion_tokens"] < longest["completion_tokens"]
