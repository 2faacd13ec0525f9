"""vLLM, in its own environment, answers as the other engines do; what it cannot do is told before it starts."""

import ast
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from accelerate import PartialState
from pydantic import ValidationError
from tiny_place import PROMPTS, environment
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from heirloom.config.arguments.library_arguments import model_configs
from heirloom.config.arguments.vllm_models import CPU_HEAD_SIZES, ENCODER_DECODERS, LARGEST_RANK
from heirloom.config.sections.generation import COOLEST, GenerationSection
from heirloom.errors import HeirloomError
from heirloom.inference.engines import Engine, load_answerer
from heirloom.inference.prompts import read_prompts, repeated
from heirloom.inference.vllm.arguments import RANKS_OF_ADAPTERS
from heirloom.inference.vllm.engine import VllmEngine, devices, load_for_vllm
from heirloom.inference.vllm.environment import VARIABLE, vllm_variables
from heirloom.inference.vllm.hollow_model import saved_dtype
from heirloom.inference.vllm.process import VllmProcess, reason_in
from heirloom.inference.vllm.requests import request, seed_of

REPOSITORY = Path(__file__).resolve().parents[2]
SECONDS = 600
"""That a start may take on a machine with other work: vLLM takes 15 of CPU."""


@pytest.fixture(scope="module")
def adapter(place, wide) -> Path:
    from peft import LoraConfig, get_peft_model

    folder = place.folder / "adapter"
    torch.manual_seed(1)
    adapted = get_peft_model(
        AutoModelForCausalLM.from_pretrained(wide),
        LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False),
    )
    adapted.save_pretrained(folder)
    return folder


def in_order(answers: Iterator[list[dict]]) -> list[dict]:
    """Return the rows of all answers in the order of the prompts."""
    return sorted((row for rows in answers for row in rows), key=lambda row: int(row["row_id"].rpartition(":")[2]))


def test_one_process_answers_with_an_adapter_by_every_key_that_it_takes(place, adapter, vllm, tmp_path, monkeypatch):
    """The adapter is merged for accelerate and kept apart by vLLM. One process for all: each takes seconds to start."""
    monkeypatch.chdir(place.folder)
    monkeypatch.setenv(VARIABLE, str(vllm))
    ranks = PartialState(cpu=True)
    prompts = read_prompts(place.folder / "chats", 6)

    def by_vllm(**keys):
        section = GenerationSection(engine="vllm", max_new_tokens=10, deterministic=True, **keys)
        return VllmEngine(load_for_vllm(adapter, section, ranks), adapter, prompts, ranks, tmp_path)

    first = by_vllm()
    with first.process() as process:
        for keys in (
            {},
            {"repetition_penalty": 1.7},
            {"min_new_tokens": 5, "eos_tokens": "5, 9, 44, 46, 92, 220"},
            {"min_length": 20, "eos_tokens": "5, 9, 44, 46, 92, 220"},
        ):
            engine = by_vllm(**keys)
            answerer = load_answerer(adapter, GenerationSection(max_new_tokens=10, **keys), ranks)
            wanted = in_order(Engine(answerer, prompts, ranks).answers(set()))
            for row, other in zip(in_order(engine.answers_by(process, prompts)), wanted, strict=True):
                assert row == other | {"logprob": pytest.approx(other["logprob"], abs=1e-3)}, keys

        sampled = by_vllm(do_sample=True, seed=3, num_return_sequences=2, top_k=30, top_p=0.9, min_p=0.01)
        asked = [request(number, prompt, sampled.answerer) for number, prompt in enumerate(repeated(sampled.own, 2))]
        together = {name: tokens for name, tokens, _ in process.answers(asked)}
        alone = {name: tokens for each in reversed(asked) for name, tokens, _ in process.answers([each])}
        assert alone == together and len(set(map(tuple, together.values()))) == len(asked)

        assert [token for new in process.stream(asked[0]) for token in new] == together[0]
        left_early = process.stream(asked[1] | {"sampling": asked[1]["sampling"] | {"min_tokens": 10}})
        assert next(left_early) == together[1][:1]
        left_early.close()
        assert [token for new in process.stream(asked[2]) for token in new] == together[2]
        assert [tokens for _, tokens, _ in process.answers([asked[3]])] == [together[3]]

        process.process.send_signal(signal.SIGKILL)
        with pytest.raises(
            HeirloomError, match=r"vllm cannot go on \(killed by signal 9, for want of memory\?\): .*log"
        ):
            list(process.answers(asked))


def test_a_conversation_is_answered_by_vllm_as_by_this_process(place, wide, vllm, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(vllm))
    told = []
    for engine in ("accelerate", "vllm"):
        command = place.command("chat.py", wide, "--engine", engine, "--max_new_tokens", "6", ranks=1)
        said = "Ada found a kite.\nBo found a red boat.\n/exit\n"
        done = subprocess.run(
            command, cwd=place.folder, env=environment(), input=said, capture_output=True, text=True, timeout=SECONDS
        )
        assert done.returncode == 0, done.stderr
        told.append([line for line in done.stdout.splitlines() if line.startswith("> ")])
    assert told[0] == told[1] and len(set(told[0])) > 1


def test_the_reason_of_a_process_that_fails_is_told(tmp_path):
    """This environment has no vLLM, so its own Python is one that cannot."""
    with pytest.raises(
        HeirloomError, match=r"vllm cannot go on \(ModuleNotFoundError: No module named 'vllm'\): .*/log has"
    ):
        VllmProcess(Path(sys.executable), {}, None, os.environ, tmp_path / "log")
    assert (
        reason_in(
            [
                "(MainProcess pid=7) WARNING 11-30 14:44:30 [base.py:380] ValueError: Tokenizer not available",
                "(EngineCore pid=8) ERROR 11-30 14:44:30 [core.py:9] RuntimeError: See root cause above.",
                "(Worker_TP1 pid=9) ERROR 11-30 14:44:30 [executor.py:743] torch.OutOfMemoryError: CUDA out of",
            ]
        )
        == "torch.OutOfMemoryError: CUDA out of"
    )


def test_a_stage_that_was_killed_goes_on_to_the_answers_of_accelerate(place, wide, vllm):
    """Prompts of many lengths fill the same room with their answers, which so are finished one after the other."""
    room = max(len(prompt.ids) for prompt in read_prompts(place.folder / "chats", None)) + 4
    options = {"max_new_tokens": 80, "max_length": room}
    config = place.config("vllm-wanted", generation=options | {"test_batch_size": 5})
    place.run(*place.inference(config, "vllm-wanted", model=wide))
    wanted = place.generations("vllm-wanted")

    config = place.config("vllm", generation=options | {"engine": "vllm"})
    command = place.inference(config, "vllm", model=wide)
    work = place.folder / ".vllm.work"
    journal = work / "answers-0-of-1.jsonl"
    place.kill_after(2, journal, place.command(*command, ranks=1), SECONDS)
    header, first, *rest = journal.read_text(encoding="utf-8").splitlines(keepends=True)
    marked = json.loads(first) | {"completion": "kept from before the kill"}
    journal.write_text("".join([header, json.dumps(marked) + "\n", *rest]), encoding="utf-8")
    done = place.run(*command, seconds=SECONDS)
    assert 'vLLM: {"vllm": "0.' in done.stdout and f"{PROMPTS} answers in" in done.stdout
    rows = place.generations("vllm")
    for row, other in zip(rows, wanted, strict=True):
        kept = {"completion": marked["completion"]} if row["row_id"] == marked["row_id"] else {}
        assert row == other | kept | {"logprob": pytest.approx(other["logprob"], abs=1e-3)}
    assert len({row["completion_tokens"] for row in rows}) > 2
    assert not work.exists()


def test_each_prompt_belongs_to_one_rank_that_has_a_process(place, wide, vllm, tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(vllm))
    prompts = read_prompts(place.folder / "chats", None)
    answerer = load_for_vllm(wide, GenerationSection(engine="vllm"), PartialState(cpu=True))
    for shared in (1, 2):
        answerer.section = GenerationSection(engine="vllm", tensor_parallel_size=shared)
        ranks = [SimpleNamespace(process_index=index, num_processes=4) for index in range(4)]
        engines = [VllmEngine(answerer, wide, prompts, rank, tmp_path) for rank in ranks]
        assert [engine.reports for engine in engines] == [True, shared == 1, True, shared == 1]
        assert sorted(prompt.position for engine in engines for prompt in engine.own) == list(range(PROMPTS))
        assert [engine.total for engine in engines if engine.reports] == ([4, 3, 3, 3] if shared == 1 else [7, 6])


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"num_beams": 2}, "num_beams: is not available with engine: vllm, which has nothing that does the same"),
        ({"no_repeat_ngram_size": 3}, "no_repeat_ngram_size: is not available with engine: vllm"),
        ({"stop_strings": ["."]}, "stop_strings: is not available with engine: vllm"),
        ({"do_sample": True, "typical_p": 0.9}, "typical_p: is not available with engine: vllm"),
        ({"do_sample": True, "temperature": COOLEST / 2}, "temperature: is below 0.01, to which engine: vllm would"),
        ({"test_batch_size": 4}, "test_batch_size: has no effect with engine: vllm, which fills the memory"),
        ({"attn_implementation": "eager"}, "attn_implementation: has no effect with engine: vllm, which has attention"),
        ({"engine": "accelerate", "tensor_parallel_size": 2}, "tensor_parallel_size: has no effect with engine: acc"),
    ],
)
def test_keys_that_vllm_has_no_equal_for_are_refused(keys, problem):
    with pytest.raises(ValidationError, match=re.escape(problem)):
        GenerationSection.model_validate({"engine": "vllm"} | keys)


def refused(checkpoint: Path, **keys) -> str:
    """Return why a checkpoint is not loaded."""
    section = GenerationSection(engine="vllm", **keys)
    with pytest.raises(HeirloomError) as told:
        load_for_vllm(checkpoint, section, PartialState(cpu=True))
    return str(told.value)


def test_what_vllm_cannot_serve_here_is_told_before_it_starts(place, wide, adapter, tmp_path, monkeypatch):
    monkeypatch.chdir(place.folder)
    monkeypatch.setenv(VARIABLE, str(tmp_path / "none"))
    assert re.search(r"none is not installed: `make setup-vllm`, or name", refused(wide))
    (tmp_path / "none").mkdir()
    (tmp_path / "none/ready").touch()  # nothing of it is started here
    assert "no attention on CPUs for heads of size 16 (it has for 32, 64, 80" in refused(place.folder / "model")
    assert "tensor_parallel_size: 2 GPUs are to share the model, and this machine" in refused(
        wide, tensor_parallel_size=2
    )
    for changes, problem in (
        ({"use_dora": True}, "use_dora gives the adapter magnitudes beside it, which engine: vllm cannot apply"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save gives the adapter whole modules beside it"),
        ({"bias": "all"}, "bias gives the adapter biases"),
        ({"rank_pattern": {"q_proj": 513}}, "r gives the adapter the rank 513, and engine: vllm applies up to 512"),
    ):
        other = shutil.copytree(adapter, tmp_path / next(iter(changes)))
        settings = json.loads((other / "adapter_config.json").read_text())
        (other / "adapter_config.json").write_text(json.dumps(settings | changes))
        assert problem in refused(other)
    quantized = shutil.copytree(wide, tmp_path / "quantized")
    settings = json.loads((quantized / "config.json").read_text())
    four = {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}
    (quantized / "config.json").write_text(json.dumps(settings | four))
    assert "vllm reads weights in 8 or 4 bits on GPUs only, and this machine has none" in refused(quantized)


def test_lists_of_what_vllm_serves_are_vllms_own(vllm):
    """Read from its sources: importing it takes eight seconds."""
    library = next(vllm.glob("lib/python*/site-packages/vllm"))
    attention = ast.parse((library / "v1/attention/backends/cpu_attn.py").read_text())
    (sizes,) = (
        node.body[0].value
        for node in ast.walk(attention)
        if isinstance(node, ast.FunctionDef) and node.name == "get_supported_head_sizes"
    )
    assert tuple(ast.literal_eval(sizes)) == CPU_HEAD_SIZES
    (ranks,) = re.findall(
        r"^MaxLoRARanks = Literal\[([\d, ]+)\]", (library / "config/lora.py").read_text(), re.MULTILINE
    )
    assert tuple(map(int, ranks.split(","))) == RANKS_OF_ADAPTERS and RANKS_OF_ADAPTERS[-1] == LARGEST_RANK


def test_encoder_decoders_are_those_that_can_be_trained_here():
    types = {*model_configs()["models"]} - {"gemma4_assistant"}  # it is made of another model's
    assert {each for each in types if CONFIG_MAPPING[each]().is_encoder_decoder} == ENCODER_DECODERS


def test_a_process_sees_its_own_gpus_and_no_group_of_ranks(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "2")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,GPU-6,7")
    assert devices(2) == ["GPU-6", "7"]
    ranks = {"RANK": "2", "LOCAL_RANK": "2", "WORLD_SIZE": "4", "MASTER_ADDR": "x", "TORCHELASTIC_RUN_ID": "1"}
    kept = {"PATH": "/bin", "OMP_NUM_THREADS": "3", "VLLM_CPU_KVCACHE_SPACE": "9"}
    on_gpus = vllm_variables(ranks | kept, ["6", "7"], 1, batch_invariant=True)
    assert on_gpus["CUDA_VISIBLE_DEVICES"] == "6,7" and on_gpus["VLLM_BATCH_INVARIANT"] == "1"
    on_cpu_only = vllm_variables(ranks | kept, [], 1, batch_invariant=True)
    assert kept.items() <= on_cpu_only.items() and "VLLM_BATCH_INVARIANT" not in on_cpu_only
    assert not ranks.keys() & (on_gpus.keys() | on_cpu_only.keys())
    assert on_cpu_only["HF_HUB_OFFLINE"] == on_cpu_only["VLLM_NO_USAGE_STATS"] == "1"


def test_a_sample_has_a_seed_of_its_own(place):
    prompts = repeated(read_prompts(place.folder / "chats", 3), 2)
    seeds = {seed_of(GenerationSection(do_sample=True, seed=seed), prompt) for prompt in prompts for seed in (0, 1)}
    assert len(seeds) == 2 * len(prompts) and all(0 <= seed < 2**63 for seed in seeds)


def test_the_type_of_saved_weights_is_read_of_their_files(wide, tmp_path):
    assert saved_dtype(wide) == "float32"
    AutoModelForCausalLM.from_pretrained(wide, dtype=torch.bfloat16).save_pretrained(tmp_path)
    assert saved_dtype(tmp_path) == "bfloat16"
