"""What decides the last digits: instruction sets are pinned and recorded, operations repeat their results."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from heirloom.arithmetic import processor
from heirloom.arithmetic.processor import PINS, PORTABLE, has, widest
from heirloom.config.files import value_problems
from heirloom.config.run import Run
from heirloom.launcher.command import Program
from heirloom.launcher.environment import for_program
from heirloom.launcher.ranks import Ranks
from heirloom.launcher.record import arithmetic_in
from heirloom.launcher.work import WorkFolder
from heirloom.report.execution_records import is_execution
from pipeline.graph.model_loading import loading_flags
from pipeline.provenance import reproduction

ROOT = Path(__file__).resolve().parents[2]
AVX2 = "fpu sse sse2 sse4_1 sse4_2 avx f16c fma avx2"
AVX512 = f"{AVX2} avx512f avx512dq avx512bw avx512vl amx_tile"
INTEL = {"vendor": "GenuineIntel", "aten": "AVX512", "mkl": "AVX512_E1", "onednn": "AVX512_CORE"}
OLDER = {"vendor": "GenuineIntel", "aten": "AVX2", "mkl": "AVX2", "onednn": "AVX2"}


@pytest.fixture
def on(monkeypatch, tmp_path):
    """Make a function that puts this process on a processor of a maker, with flags as Linux lists them."""

    def put(vendor: str, flags: str) -> None:
        file = tmp_path / "cpuinfo"
        core = f"vendor_id\t: {vendor}\nmodel name\t: X\nflags\t\t: {flags}\n\n"
        file.write_text("".join(f"processor\t: {number}\n{core}" for number in range(2)))
        monkeypatch.setattr(processor, "CPUINFO", file)

    return put


def test_a_processor_tells_its_maker_and_its_widest_instruction_set(on):
    on("GenuineIntel", AVX512)
    assert (processor.facts_of_processor()[0], widest()) == ("GenuineIntel", "AVX512")
    on("AuthenticAMD", AVX2)
    assert (processor.facts_of_processor()[0], widest(), has("AVX512"), has("VSX")) == (
        "AuthenticAMD",
        "AVX2",
        False,
        False,
    )
    on("GenuineIntel", AVX2.replace(" fma", ""))
    assert widest() == "DEFAULT"


@pytest.mark.parametrize(
    ("words", "portable"),
    [
        (("--portable", "true"), True),
        (("--portable=true",), True),
        (("--metrics", "m.json", "--portable"), True),
        (("--portable", "--metrics", "m.json"), True),
        (("--portable", "false"), False),
        ((), False),
    ],
)
def test_the_launcher_pins_what_all_processors_have_for_a_portable_run(words, portable, monkeypatch):
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "avx512")
    program = Program("torchrun", Path("x.py"), words)
    given = for_program(
        program.kind, Ranks(1, 2, "cpu"), WorkFolder(Path("work")), None, None, portable=program.portable
    )
    assert {name: given.get(name) for name in PORTABLE} == (PORTABLE if portable else dict.fromkeys(PORTABLE))


def test_a_recorded_instruction_set_is_pinned_where_this_processor_has_it(on):
    on("GenuineIntel", AVX512)
    held, told = reproduction.pins(OLDER)
    assert held == PINS["AVX2"] and "held to the recorded instruction set, AVX2" in told
    assert reproduction.pins(INTEL) == ({}, None)
    assert reproduction.pins({}) == ({}, None)
    assert reproduction.pins(OLDER | {"mkl": "MKL_CBWR=COMPATIBLE"}) == ({}, None)  # the launcher pins it anyway


def test_it_is_said_where_this_processor_lacks_it_or_has_another_maker(on):
    on("AuthenticAMD", AVX2)
    held, told = reproduction.pins(INTEL)
    assert held == {} and "computed with AVX512 (GenuineIntel), which this processor (AuthenticAMD, AVX2)" in told
    held, told = reproduction.pins(OLDER)
    assert held == {} and "made by GenuineIntel, this one by AuthenticAMD" in told
    on("AuthenticAMD", AVX512)
    assert reproduction.pins(OLDER)[0] == PINS["AVX2"]


def test_a_stage_of_another_instruction_set_is_not_called_non_deterministic():
    same = {"ranks": {"nodes": 1, "per_node": 2, "device": "cpu"}, "machine": {"cores": 2}, "versions": {"torch": "2"}}
    then, now = same | {"arithmetic": INTEL}, same | {"arithmetic": INTEL}
    assert reproduction.reasons(then, now, True) == [reproduction.NOT_DETERMINISTIC]
    assert reproduction.reasons(same | {"arithmetic": OLDER}, now, True)[0] == (
        "arithmetic.aten AVX2 → AVX512 (recorded → here)"
    )
    assert reproduction.reasons(same, now, True) == [reproduction.SET_UNKNOWN]  # of before this was recorded


def test_a_record_with_odd_arithmetic_is_none():
    record = {
        "started": "2026-11-29T00:00:00Z",
        "seconds": 1,
        "ranks": {"nodes": 1, "per_node": 2, "device": "cpu"},
        "machine": {"system": "Linux"},
        "versions": {},
    }
    assert is_execution(record) and is_execution(record | {"arithmetic": INTEL})
    assert not is_execution(record | {"arithmetic": ["AVX2"]})
    assert not is_execution(record | {"arithmetic": {"aten": "\x1b[31m"}})


RUN = {"base": "b", "dataset": "d", "trainer": "sft", "portable": True, "training": {"global_batch_size": 8}}


@pytest.mark.parametrize(
    ("keys", "place", "problem"),
    [
        ({"training": {**RUN["training"], "optim": "adafactor"}}, ("training", "optim"), "square roots by oneMKL"),
        ({"peft": {"r": 4}, "quantization": {"load_in_4bit": True}}, ("quantization",), "bitsandbytes chooses"),
        (
            {"training": {**RUN["training"], "full_determinism": True}},
            ("training", "full_determinism"),
            "use training.deterministic",
        ),
        ({"training": {**RUN["training"], "optim": "sgd", "deterministic": True}}, None, None),
        (
            {
                "portable": False,
                "training": {
                    **RUN["training"],
                    "deterministic": True,
                    "gradient_checkpointing_kwargs": {"use_reentrant": True},
                },
            },
            ("training", "gradient_checkpointing_kwargs"),
            "cannot be combined with deterministic: true",
        ),
    ],
)
def test_what_cannot_keep_such_a_promise_is_refused_with_the_file(keys, place, problem):
    found = [(tuple(where), text) for where, text in value_problems(Run, RUN | keys, "config/runs/x.yaml")]
    assert [where for where, _ in found] == ([place] if place else [])
    assert all(problem in text for _, text in found)


def test_only_a_portable_run_has_another_command():
    project = SimpleNamespace(runs={})
    section = SimpleNamespace(attn_implementation=None, engine="accelerate")

    def flags(portable: bool) -> dict:
        run = SimpleNamespace(
            portable=portable, generation=section, base="b", trainer=None, training=None, trusts_remote_code=False
        )
        return {flag: value for flag, value in loading_flags("generation", run, project).items() if value is not None}

    assert (flags(False), flags(True)) == ({}, {"portable": "true"})


COMPUTES = """
import sys
sys.path.insert(0, sys.argv[1])
import torch
from heirloom.arithmetic.instruction_sets import check_portable, leave_for_record
torch.ones(8, 8) @ torch.ones(8, 8)
leave_for_record()
check_portable()
"""


def computed(folder: Path, variables: dict[str, str]) -> subprocess.CompletedProcess:
    """Run a program that computes, leaves what it computed with, and must be portable."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ATEN_", "MKL_", "ONEDNN_"))}
    return subprocess.run(
        [sys.executable, "-c", COMPUTES, str(ROOT / "scripts")],
        env={**kept, "CUDA_VISIBLE_DEVICES": "", "HEIRLOOM_WORK_DIR": str(folder), **variables},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.skipif(not has("AVX2"), reason="this processor has no AVX2")
def test_torch_computes_as_it_is_pinned_and_the_record_says_so(tmp_path):
    done = computed(tmp_path, PORTABLE)
    assert done.returncode == 0, done.stderr
    found = arithmetic_in(tmp_path)
    assert (found["aten"], found["onednn"]) == ("AVX2", "AVX2")
    assert found["mkl"] in ("MKL_CBWR=COMPATIBLE", "unknown")  # unknown: this torch has another library
    done = computed(tmp_path, {})
    assert "portable: true needs ATEN_CPU_CAPABILITY=avx2 MKL_CBWR=COMPATIBLE" in done.stderr
    assert arithmetic_in(tmp_path)["aten"] == widest()


@pytest.mark.skipif(not shutil.which("qemu-x86_64"), reason="needs qemu-user")
@pytest.mark.skipif(not has("AVX2"), reason="this processor has no AVX2")
def test_a_portable_training_has_the_same_bytes_on_a_processor_of_the_other_maker(tmp_path):
    other = "Haswell" if processor.facts_of_processor()[0] == "AuthenticAMD" else "EPYC"
    program = [sys.executable, str(ROOT / "benchmarks" / "portable_bytes.py"), "--no-price", "--steps", "1"]
    result = tmp_path / "result.json"
    words = ["--processors", other, "--settings", "portable", "--output", str(result)]
    subprocess.run([*program, *words], check=True, stdout=subprocess.DEVNULL)
    found = json.loads(result.read_text())
    assert found["weights"]["portable"].keys() == {"this processor", other} and found["agree"] == {"portable": True}
