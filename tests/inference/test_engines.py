"""Every engine, any number of ranks and any batch size give the same answers; what an engine cannot do is told."""

import importlib
import inspect
import json
import os
import shutil
import subprocess
import sys

import pytest
import torch
from accelerate import PartialState
from pydantic import ValidationError
from tiny_place import PROMPTS, environment
from tokenizers.processors import TemplateProcessing
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from heirloom.config.arguments.library_arguments import argument_problems
from heirloom.config.sections.generation import GenerationSection
from heirloom.distributed import on_cpu
from heirloom.errors import HeirloomError
from heirloom.inference.engines import Engine, load_answerer
from heirloom.inference.generation_files import read_generations, write_generations
from heirloom.inference.prompts import read_prompts, repeated
from heirloom.inference.prompts_file import prompt_ids, read_prompts_file
from heirloom.inference.tensor_parallel import INJECTABLE, check_tensor_parallel
from heirloom.models.trained_checkpoints import load_config
from heirloom.models.weights import weights_hash

GREEDY = {"max_new_tokens": 12}
ENGINES = {
    "accelerate": {"test_batch_size": 4},
    "deepspeed": {"engine": "deepspeed", "test_batch_size": 5},
    "deepspeed_zero": {"engine": "deepspeed_zero", "test_batch_size": 3},
    "deepspeed_zero-offload": {"engine": "deepspeed_zero", "cpu_offload": True, "test_batch_size": 13},
    "continuous": {"engine": "continuous"},
}


@pytest.fixture(scope="module")
def reference(place):
    """The answers of one rank, one prompt at a time."""
    config = place.config("one-by-one", generation=GREEDY | {"test_batch_size": 1})
    place.run(*place.inference(config, "one-by-one"))
    return place.generations("one-by-one")


@pytest.mark.parametrize("name", ENGINES)
def test_two_ranks_of_each_engine_answer_as_one_rank_does(place, reference, name):
    config = place.config(name, generation=GREEDY | ENGINES[name])
    done = place.run(*place.inference(config, name), ranks=2)
    assert f"{PROMPTS} answers in" in done.stdout
    rows = place.generations(name)
    for row, wanted in zip(rows, reference, strict=True):
        assert row == wanted | {"logprob": pytest.approx(wanted["logprob"], abs=1e-3)}
    assert len({row["completion"] for row in rows}) > PROMPTS // 2


@pytest.mark.parametrize("engine", ["deepspeed", "deepspeed_zero"])
def test_sampling_is_the_same_with_ranks_that_share_the_model(place, engine):
    sampled = {"max_new_tokens": 8, "do_sample": True, "top_p": 0.9, "seed": 3, "num_return_sequences": 2}
    config = place.config("sampled-alone", generation=sampled | {"test_batch_size": 7})
    place.run(*place.inference(config, "sampled-alone"))
    config = place.config(f"sampled-{engine}", generation=sampled | {"test_batch_size": 4, "engine": engine})
    place.run(*place.inference(config, f"sampled-{engine}"), ranks=2)
    alone, together = place.generations("sampled-alone"), place.generations(f"sampled-{engine}")
    assert [row["completion"] for row in together] == [row["completion"] for row in alone]
    assert [(row["row_id"], row["sample"]) for row in alone[:3]] == [
        ("test.jsonl:1", 0),
        ("test.jsonl:1", 1),
        ("test.jsonl:2", 0),
    ]
    differ = [
        first["completion"] != second["completion"] for first, second in zip(alone[::2], alone[1::2], strict=True)
    ]
    assert len(alone) == 2 * PROMPTS and sum(differ) > PROMPTS // 2


@pytest.mark.parametrize("engine", ["deepspeed", "deepspeed_zero", "continuous"])
def test_an_engine_that_was_killed_goes_on(place, engine):
    """Ranks die with uneven journals; nothing is answered twice, and ranks that go in step stay in step."""
    options = {"max_new_tokens": 40, "engine": engine} | ({} if engine == "continuous" else {"test_batch_size": 1})
    config = place.config(f"kill-{engine}", generation=options)
    output = f"killed-{engine}"
    place.run(*place.inference(config, output), ranks=2)
    clean = place.generations(output)
    shutil.rmtree(place.folder / output)
    work = place.folder / f".{output}.work"
    shutil.rmtree(work, ignore_errors=True)
    command = place.command(*place.inference(config, output), ranks=2)
    journal = work / "answers-0-of-2.jsonl"
    place.kill_after(2, journal, command)
    header, first, *rest = journal.read_text(encoding="utf-8").splitlines(keepends=True)
    marked = json.loads(first) | {"completion": "kept from before the kill"}
    journal.write_text("".join([header, json.dumps(marked) + "\n", *rest]), encoding="utf-8")
    place.run(*place.inference(config, output), ranks=2)
    for row, wanted in zip(place.generations(output), clean, strict=True):
        kept = {"completion": marked["completion"]} if row["row_id"] == marked["row_id"] else {}
        assert row == wanted | kept | {"logprob": pytest.approx(wanted["logprob"], abs=1e-3)}


@pytest.mark.parametrize("engine", ["accelerate", "continuous"])
def test_max_length_counts_the_prompt_without_its_padding(place, reference, engine):
    prompts = read_prompts(place.folder / "chats", None)
    max_length = max(len(prompt.ids) for prompt in prompts) + 2
    section = GenerationSection(engine=engine, max_new_tokens=12, max_length=max_length)
    ranks = PartialState(cpu=True)
    engine = Engine(load_answerer(place.folder / "model", section, ranks), prompts, ranks)
    rows = {row["row_id"]: row for found in engine.answers(set()) for row in found}
    tokens = [rows[row["row_id"]]["completion_tokens"] for row in reference]
    room = [min(12, max_length - row["prompt_tokens"]) for row in reference]
    wanted = [min(row["completion_tokens"], most) for row, most in zip(reference, room, strict=True)]
    assert tokens == wanted and min(room) == 2 and len(set(room)) > 2
    for row in reference:
        assert row["completion"].startswith(rows[row["row_id"]]["completion"].rstrip("\ufffd"))


def test_memory_that_does_not_suffice_halves_the_batch(place, monkeypatch, capsys):
    """The allocator's own error, raised where a batch is larger than three."""
    section = GenerationSection(test_batch_size=8, max_new_tokens=6)
    ranks = PartialState(cpu=True)
    prompts = read_prompts(place.folder / "chats", None)
    answerer = load_answerer(place.folder / "model", section, ranks)
    wanted = [row for rows in Engine(answerer, prompts, ranks).answers(set()) for row in rows]
    generate = answerer.model.generate

    def with_little_memory(input_ids, **options):
        if len(input_ids) > 3:
            torch.empty(2**60, dtype=torch.uint8)  # more than any machine has
        return generate(input_ids=input_ids, **options)

    monkeypatch.setattr(answerer.model, "generate", with_little_memory)
    assert [row for rows in Engine(answerer, prompts, ranks).answers(set()) for row in rows] == wanted
    assert "memory does not suffice for a batch of 8: it is answered in halves of 4" in capsys.readouterr().out


def test_an_adapter_is_answered_with_as_its_merged_model_is(place, tmp_path):
    from peft import LoraConfig, PeftModel, get_peft_model

    torch.manual_seed(1)
    base = AutoModelForCausalLM.from_pretrained(place.folder / "model")
    adapted = get_peft_model(base, LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False))
    adapted.save_pretrained(tmp_path / "adapter")
    settings = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == str(place.folder / "model")
    merged = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(place.folder / "model"), tmp_path / "adapter"
    ).merge_and_unload()
    merged.save_pretrained(tmp_path / "merged")
    AutoTokenizer.from_pretrained(place.folder / "model").save_pretrained(tmp_path / "merged")

    prompts = read_prompts(place.folder / "chats", 4)
    found = {}
    for name in ("adapter", "merged"):
        ranks = PartialState(cpu=True)
        answerer = load_answerer(tmp_path / name, GenerationSection(**GREEDY), ranks)
        rows = [row for rows in Engine(answerer, prompts, ranks).answers(set()) for row in rows]
        found[name] = [row["completion"] for row in rows]
    assert found["adapter"] == found["merged"]


@pytest.mark.parametrize("bits", ["load_in_8bit=True", "load_in_4bit=True, bnb_4bit_quant_type='nf4'"])
def test_a_quantized_checkpoint_is_answered_with_as_upstream_does(place, tmp_path, bits):
    whole = str(tmp_path / "whole")
    widths = {"hidden_size": 64, "head_dim": 32, "intermediate_size": 128}  # bitsandbytes packs 64 weights of a row
    config = AutoConfig.from_pretrained(place.folder / "model", **widths)
    torch.manual_seed(1)
    AutoModelForCausalLM.from_config(config).save_pretrained(whole)
    AutoTokenizer.from_pretrained(place.folder / "model").save_pretrained(whole)
    prompts = read_prompts(place.folder / "chats", 1)
    program = f"""
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig
config = BitsAndBytesConfig({bits})
model = AutoModelForCausalLM.from_pretrained({whole!r}, quantization_config=config, device_map="cpu")
model.save_pretrained({str(tmp_path / "quantized")!r})
AutoTokenizer.from_pretrained({whole!r}).save_pretrained({str(tmp_path / "quantized")!r})
import torch
model = AutoModelForCausalLM.from_pretrained({str(tmp_path / "quantized")!r})
ids = torch.tensor([{list(prompts[0].ids)}])
print(model.generate(ids, max_new_tokens=12, do_sample=False)[0, ids.shape[1]:].tolist())
"""
    made = subprocess.run(
        [sys.executable, "-c", program], env=environment(), check=True, timeout=240, stdout=subprocess.PIPE, text=True
    )
    upstream = json.loads(made.stdout.splitlines()[-1])
    upstream = upstream[: upstream.index(0)] if 0 in upstream else upstream
    config = place.config("quantized", generation=GREEDY | {"limit": 1})  # int8 rounds by the batch
    place.run(*place.inference(config, "quantized", model=tmp_path / "quantized"))
    rows = place.generations("quantized")
    assert rows[0]["checkpoint"] == weights_hash(tmp_path / "quantized")
    tokenizer = AutoTokenizer.from_pretrained(whole)
    assert rows[0]["completion"] == tokenizer.decode(upstream, skip_special_tokens=True)


def test_prompts_come_from_a_file_and_answers_go_to_parquet(place, reference, tmp_path):
    file = tmp_path / "mine.jsonl"
    first, second = reference[0], reference[1]
    file.write_text(
        json.dumps({"prompt": first["prompt"], "reference": "A kite."})
        + "\n\n"
        + json.dumps({"prompt": second["prompt"], "id": "second"})
        + "\n"
    )
    config = place.config("file", generation=GREEDY | {"output_format": "parquet"})
    command = place.inference(config, "from-file")
    command[command.index("--dataset")] = "--prompts"
    command[command.index(place.folder / "chats")] = file
    place.run(*command)
    rows = read_generations(place.folder / "from-file")
    assert [row["completion"] for row in rows] == [first["completion"], second["completion"]]
    assert [(row["row_id"], row["dataset"], row["reference"]) for row in rows] == [
        ("mine.jsonl:1", "mine.jsonl", "A kite."),
        ("second", "mine.jsonl", None),
    ]


def test_a_malformed_file_of_prompts_names_every_line(place, tmp_path):
    file = tmp_path / "wrong.jsonl"
    lines = ['{"prompt": "a"}', "no json", '{"text": "a"}', '{"prompt": ""}', '{"messages": [{"role": "user"}]}', "[]"]
    file.write_text("\n".join(lines))
    command = place.inference(place.config("wrong", generation=GREEDY), "wrong")
    command[command.index("--dataset")] = "--prompts"
    command[command.index(place.folder / "chats")] = file
    done = place.run(*command, check=False)
    assert "line 2: is no JSON" in done.stderr
    assert "line 3: has an unknown key text; known are prompt, messages, id, reference; line 3: needs" in done.stderr
    assert "line 4: the prompt is empty; line 5: message 1 needs `role` and `content`; and 1 more" in done.stderr
    assert "Traceback" not in done.stderr


def read_file(place, tmp_path, content: bytes, **changes):
    """Return the prompts of a file of prompts with this content."""
    tokenizer = AutoTokenizer.from_pretrained(place.folder / "model")
    for name, value in changes.items():
        setattr(tokenizer, name, value)
    (tmp_path / "p.jsonl").write_bytes(content)
    return read_prompts_file(tmp_path / "p.jsonl", tokenizer, None)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"prompt": "a"}\n{"prompt": "Caf\xe9"}', r"line 2: is no UTF-8 \(byte 16 is 0xe9\); save the file with"),
        (b'{"prompt": "cut \\ud83d"}', "line 1: prompt holds half a character"),
        (b'{"prompt": "a", "reference": "\\ud83d"}', "line 1: reference holds half a character"),
        (b'{"messages": [{"role": "user", "content": "\\udc00"}]}', "line 1: messages holds half a character"),
        (b'{"prompt": null}', "line 1: needs `prompt` or `messages`, one of the two"),
        (b"[" * 100_000, "line 1: is no JSON"),
    ],
)
def test_lines_that_no_model_could_read_are_told(place, tmp_path, content, message):
    with pytest.raises(HeirloomError, match=message):
        read_file(place, tmp_path, content)


def test_what_exports_write_is_read(place, tmp_path):
    """A byte order mark, and null in an empty column."""
    (prompt,) = read_file(place, tmp_path, b'\xef\xbb\xbf{"prompt": "Ada", "reference": null, "id": null}\n')
    assert (prompt.text, prompt.reference, prompt.row_id) == ("Ada", None, "p.jsonl:1")


def test_a_text_that_begins_as_texts_do_gets_no_second_beginning(place, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(place.folder / "model")
    tokenizer.bos_token = "<|end|>"
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|end|> $A", special_tokens=[("<|end|>", 0)]
    )
    whole, alone = (prompt_ids(text, tokenizer, special=True) for text in ("<|end|>Ada", "Ada"))
    assert whole == alone and whole[0] == 0 and whole.count(0) == 1


def test_eos_tokens_end_answers(place, reference):
    longest = max(reference, key=lambda row: row["completion_tokens"])
    tokenizer = AutoTokenizer.from_pretrained(place.folder / "model")
    ids = tokenizer(longest["completion"], add_special_tokens=False)["input_ids"]
    ranks = PartialState(cpu=True)
    end = tokenizer.convert_ids_to_tokens(ids[1])
    for named in (f"{ids[1]}, {ids[2]}", f"{end},{ids[2]}"):
        answerer = load_answerer(place.folder / "model", GenerationSection(**GREEDY, eos_tokens=named), ranks)
        assert answerer.end_ids == (ids[1], ids[2])
    with pytest.raises(HeirloomError, match="eos_tokens: '<nothing>', '99999' is no token of"):
        load_answerer(place.folder / "model", GenerationSection(eos_tokens="<nothing>,99999"), ranks)


def test_a_dataset_of_another_tokenizer_and_missing_parts_are_told(place, tmp_path):
    shutil.copytree(place.folder / "model", tmp_path / "small")
    config = json.loads((tmp_path / "small" / "config.json").read_text()) | {"vocab_size": 20}
    from transformers import LlamaConfig, LlamaForCausalLM

    LlamaForCausalLM(LlamaConfig(**{**config, "eos_token_id": 0})).save_pretrained(tmp_path / "small")
    command = place.inference(place.config("small", generation=GREEDY), "never", model=tmp_path / "small")
    done = place.run(*command, check=False)
    assert "knows 20 tokens: the prompts were made with the tokenizer of another model" in done.stderr
    os.remove(tmp_path / "small" / "model.safetensors")
    with pytest.raises(HeirloomError, match="holds no weights"):
        load_answerer(tmp_path / "small", GenerationSection(), PartialState(cpu=True))
    os.remove(tmp_path / "small" / "config.json")
    (tmp_path / "small" / "adapter_config.json").write_text('{"base_model_name_or_path": "nowhere"}')
    with pytest.raises(HeirloomError, match="is an adapter of nowhere, which holds no model here"):
        load_answerer(tmp_path / "small", GenerationSection(), PartialState(cpu=True))


def test_kernels_and_heads_that_ranks_cannot_share(place):
    config = place.config("kernels", generation={"engine": "deepspeed", "replace_with_kernel_inject": True})
    done = place.run(*place.inference(config, "never"), check=False)
    assert "DeepSpeed's kernels cannot stand in for the layers of a llama model" in done.stderr
    kernels = GenerationSection(engine="deepspeed", replace_with_kernel_inject=True)
    for kind in INJECTABLE:
        module = inspect.getsource(importlib.import_module(f"transformers.models.{kind}.modeling_{kind}"))
        assert "            outputs = block(" in module and "            hidden_states = outputs[0]" in module
        if on_cpu():
            with pytest.raises(HeirloomError, match="kernels run on GPUs only, and this machine has none: delete it"):
                check_tensor_parallel(AutoConfig.for_model(kind), kernels, 1)
    with pytest.raises(HeirloomError, match=r"3 ranks cannot share 2 \(num_attention_heads\)"):
        check_tensor_parallel(load_config(place.folder / "model"), GenerationSection(engine="deepspeed"), 3)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"cpu_offload": True}, "cpu_offload: has no effect with engine: accelerate"),
        ({"engine": "continuous", "do_sample": True}, "do_sample: is not available with engine: continuous"),
        ({"engine": "continuous", "num_beams": 2}, "num_beams: is not available with engine: continuous"),
        ({"engine": "continuous", "test_batch_size": 2}, "test_batch_size: has no effect with engine: continuous"),
        ({"num_return_sequences": 2}, "num_return_sequences: has no effect without do_sample: true"),
        ({"prompts_file": "a.jsonl", "dataset": "b"}, "prompts_file: cannot stand beside dataset"),
        ({"max_length": 64, "num_beams": 2}, "max_length: cannot be combined with num_beams"),
        (
            {"engine": "deepspeed_zero", "cpu_offload": True, "nvme_path": "/nvme"},
            "cpu_offload: cannot stand beside nvme_path",
        ),
    ],
)
def test_keys_that_an_engine_cannot_take(keys, message):
    with pytest.raises(ValidationError) as error:
        GenerationSection.model_validate(keys)
    assert message in str(error.value)


def test_what_transformers_removed_is_told_with_its_successor():
    found = dict(argument_problems("generation", "generation_config", {"num_beam_groups": 2, "penalty_alpha": 0.6}))
    assert "no group beam search any more; use num_beams" in found[("num_beam_groups",)]
    assert "no contrastive search any more; use repetition_penalty" in found[("penalty_alpha",)]


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_generations_are_read_as_they_were_written(tmp_path, form):
    rows = [{"row_id": "a", "completion": "one\u2028two\x85\nthree"}, {"row_id": "b", "completion": ""}]
    write_generations(rows, tmp_path, form)
    assert read_generations(tmp_path) == rows


def test_a_damaged_file_of_generations_is_told(tmp_path):
    (tmp_path / "generations.jsonl").write_text('{"row_id": "a"}\n{"row_id"\n')
    with pytest.raises(HeirloomError, match="generations.jsonl, line 2: is no JSON .*; generate the answers again"):
        read_generations(tmp_path)


def test_token_ids_that_the_model_does_not_have_are_told(place):
    for keys in ({"suppress_tokens": [5, 99999]}, {"bad_words_ids": [[1], [2, 99999]]}, {"forced_eos_token_id": 99999},
                 {"sequence_bias": [[[99999], 1.0]]}):  # fmt: skip
        with pytest.raises(HeirloomError, match="there is no token 99999: the model has 280 tokens, numbered from 0"):
            load_answerer(place.folder / "model", GenerationSection.model_validate(keys), PartialState(cpu=True))


def test_several_samples_are_told_apart(place):
    prompts = repeated(read_prompts(place.folder / "chats", 2), 2)
    assert [prompt.key for prompt in prompts] == [
        ("test.jsonl:1", 0),
        ("test.jsonl:1", 1),
        ("test.jsonl:2", 0),
        ("test.jsonl:2", 1),
    ]
