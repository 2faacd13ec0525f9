"""vLLM's `LLM.generate` over prompts of token ids, with nothing around it, by the Python of vLLM's environment.

Reads JSON from its standard input (`engine`: the arguments of vllm.LLM, `plan`: prompts and how to answer them) and
writes what it measured as the last line of its standard output. A few answers before the clock starts take what happens
once.
"""

import json
import resource
import sys
import time


def main() -> None:
    asked = json.load(sys.stdin)
    from vllm import LLM, SamplingParams

    plan = asked["plan"]
    llm = LLM(**asked["engine"])
    end = llm.llm_engine.model_config.hf_config.eos_token_id
    sampling = SamplingParams(
        temperature=0.0, max_tokens=plan["max_new_tokens"], stop_token_ids=[end], detokenize=False
    )
    prompts = [{"prompt_token_ids": ids} for ids in plan["prompts"]]
    llm.generate(prompts[: plan["test_batch_size"]], sampling, use_tqdm=False)
    wall, cpu = -time.perf_counter(), -time.process_time()
    outputs = llm.generate(prompts, sampling, use_tqdm=False)
    wall, cpu = wall + time.perf_counter(), cpu + time.process_time()
    tokens = sum(token != end for output in outputs for token in output.outputs[0].token_ids)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print("\n" + json.dumps({"tokens": tokens, "wall_s": wall, "cpu_s": cpu, "peak_memory_mb": peak}))


if __name__ == "__main__":
    main()
