"""Let one engine answer the prompts of FOLDER once, and measure it: `measured_answers.py ENGINE FOLDER RESULT`.

ENGINE is one of `generation.engine`, or `bare`: transformers' `generate` in a loop over the same batches, with nothing
around it; or `bare_vllm`: vLLM's `LLM.generate`, with the settings of `engine: vllm`. FOLDER holds `base/` (weights and
tokenizer) and plan.json; each rank writes RESULT.RANK.
A batch before the clock starts takes what happens once: compilation, allocators, graphs.
"""

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
import heirloom.rank  # noqa: E402, F401

# isort: split
import torch  # noqa: E402
from accelerate import PartialState  # noqa: E402
from transformers import AutoModelForCausalLM  # noqa: E402

from heirloom import stage  # noqa: E402
from heirloom.config.sections.generation import GenerationSection  # noqa: E402
from heirloom.distributed import on_cpu, start_rank  # noqa: E402
from heirloom.inference.answers import padded  # noqa: E402
from heirloom.inference.engines import Engine, load_answerer  # noqa: E402
from heirloom.inference.prompts import Prompt, into_batches  # noqa: E402
from heirloom.inference.vllm.engine import VllmEngine, devices, load_for_vllm  # noqa: E402
from heirloom.inference.vllm.environment import vllm_environment, vllm_variables  # noqa: E402


def main() -> None:
    _, engine, folder, result = sys.argv
    plan = json.loads((Path(folder) / "plan.json").read_text())
    prompts = [Prompt(index, f"row-{index}", "", tuple(ids), None) for index, ids in enumerate(plan["prompts"])]
    start_rank()
    ranks = PartialState(cpu=on_cpu())
    answering = {"bare": bare, "vllm": by_vllm, "bare_vllm": bare_vllm}.get(engine, by_engine)
    measured = answering(engine, Path(folder) / "base", prompts, plan, ranks)
    Path(f"{result}.{ranks.process_index}").write_text(json.dumps(measured))
    stage.leave_ranks()


def by_engine(name: str, base: Path, prompts: list[Prompt], plan: dict, ranks: PartialState) -> dict:
    """Return what answering through the stage's own code took."""
    size = {} if name == "continuous" else {"test_batch_size": plan["test_batch_size"]}
    section = GenerationSection(engine=name, max_new_tokens=plan["max_new_tokens"], **size)
    answerer = load_answerer(base, section, ranks)
    answer_all(Engine(answerer, prompts[: 2 * plan["test_batch_size"]], ranks))
    with Measured() as measured:
        engine = Engine(answerer, prompts, ranks)
        tokens = answer_all(engine)
    return measured.facts(tokens if engine.reports else 0)


def vllm_engine(base: Path, prompts: list[Prompt], plan: dict, ranks: PartialState) -> VllmEngine:
    """Return the stage's own engine; what vLLM says goes beside the weights."""
    section = GenerationSection(engine="vllm", max_new_tokens=plan["max_new_tokens"])
    return VllmEngine(load_for_vllm(base, section, ranks), base, prompts, ranks, base.parent)


def by_vllm(_: str, base: Path, prompts: list[Prompt], plan: dict, ranks: PartialState) -> dict:
    """Return what answering by a process of vLLM took, here and there, without its start."""
    engine = vllm_engine(base, prompts, plan, ranks)
    with engine.process() as process:
        for _rows in engine.answers_by(process, engine.own[: plan["test_batch_size"]]):
            pass
        before = cpu_seconds(process.process.pid)
        with Measured() as measured:
            tokens = sum(row["completion_tokens"] for rows in engine.answers_by(process, engine.own) for row in rows)
        measured.cpu += cpu_seconds(process.process.pid) - before
        return measured.facts(tokens) | {"peak_memory_mb": peak_mb(process.process.pid)}


def bare_vllm(_: str, base: Path, prompts: list[Prompt], plan: dict, ranks: PartialState) -> dict:
    """Return what vLLM itself took, in a process of its environment."""
    engine = vllm_engine(base, prompts, plan, ranks)
    asked = {"engine": engine.arguments(), "plan": plan | {"prompts": [list(prompt.ids) for prompt in engine.own]}}
    gpus = [] if on_cpu() else devices(1)
    variables = vllm_variables(os.environ, gpus, engine.cache_on_cpu(), batch_invariant=False)
    done = subprocess.run(
        [vllm_environment() / "bin/python", "-P", Path(__file__).with_name("bare_vllm.py")],
        input=json.dumps(asked), env=variables, stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


def cpu_seconds(process: int) -> float:
    """Return the CPU seconds that a process has taken so far, all of its threads."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # utime and stime


def peak_mb(process: int) -> float:
    """Return the peak memory of a process, MB."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM:")).split()[1]) / 1024


def answer_all(engine: Engine) -> int:
    """Return how many tokens the answers of this rank have."""
    return sum(row["completion_tokens"] for rows in engine.answers(set()) for row in rows)


def bare(name: str, base: Path, prompts: list[Prompt], plan: dict, ranks: PartialState) -> dict:
    """Return what a loop over `generate` took, as one would write it."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype="auto").eval().to(ranks.device)
    pad = model.config.pad_token_id
    batches = into_batches(prompts, plan["test_batch_size"])

    def answer(batch: list[Prompt]) -> int:
        ids, mask = (tensor.to(ranks.device) for tensor in padded([prompt.ids for prompt in batch], pad, "left"))
        output = model.generate(
            input_ids=ids, attention_mask=mask, max_new_tokens=plan["max_new_tokens"], do_sample=False
        )
        return int((output[:, ids.shape[1] :] > model.config.eos_token_id).sum())  # 0 is padding, 1 the end

    answer(batches[0])
    with Measured() as measured:
        tokens = sum(map(answer, batches[ranks.process_index :: ranks.num_processes]))
    return measured.facts(tokens)


class Measured:
    """Takes the wall and CPU seconds of a block, and the peak memory up to its end."""

    def __enter__(self) -> "Measured":
        self.wall, self.cpu = -now(), -time.process_time()
        return self

    def __exit__(self, *error) -> None:
        self.wall += now()
        self.cpu += time.process_time()

    def facts(self, tokens: int) -> dict:
        facts = {"tokens": tokens, "wall_s": self.wall, "cpu_s": self.cpu}
        facts["peak_memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        if torch.cuda.is_available():
            facts["peak_gpu_memory_gib"] = torch.cuda.max_memory_allocated() / 2**30
        return facts


def now() -> float:
    """Return a time in seconds at which the GPU has done all that it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


if __name__ == "__main__":
    main()
