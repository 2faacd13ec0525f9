"""What vLLM is asked: the run's `generation:` and a prompt in its words."""

import hashlib
from typing import Any

from heirloom.config.sections.generation import GenerationSection
from heirloom.inference.answers import Answerer
from heirloom.inference.prompts import Prompt


def request(name: int, prompt: Prompt, answerer: Answerer) -> dict[str, Any]:
    """Return the request for a prompt; `name` comes back with its answer."""
    section, longest = answerer.section, answerer.longest_answer(prompt)
    others = section.for_transformers
    # both count tokens before the answer may end; an answer that is cut before needs none to be forbidden
    shortest = max(others.get("min_new_tokens") or 0, (others.get("min_length") or 0) - len(prompt.ids))
    sampling: dict[str, Any] = {
        "max_tokens": longest,
        "min_tokens": min(max(shortest, 0), longest),
        "stop_token_ids": list(answerer.end_ids),
        "repetition_penalty": others.get("repetition_penalty") or 1.0,
        "temperature": 0.0,
    }
    if section.do_sample:
        sampling |= {
            "temperature": section.temperature,
            "top_k": section.top_k,
            "top_p": section.top_p,
            "min_p": others.get("min_p") or 0.0,
            "seed": seed_of(section, prompt),
        }
    return {"name": name, "ids": list(prompt.ids), "sampling": sampling}


def seed_of(section: GenerationSection, prompt: Prompt) -> int:
    """Return the seed of one answer, 63 bits: of the run's seed, the prompt and the number of the sample alone."""
    text = f"{section.seed}/{prompt.row_id}/{prompt.sample}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
