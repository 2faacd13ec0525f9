"""Make all that the GPU benchmark reads, from a seed alone: `python inputs.py FOLDER PLAN.json`.

PLAN holds {model, examples, pairs, max_length, max_pair_length, shrink}. FOLDER gets `base/` (a tokenizer and the
configuration of a model whose weights each program draws itself), `tiny/` (with weights), the processed datasets
`text/`, `chat/` and `preference/`, the same rows as texts for TRL (`chat.jsonl`, `preference.jsonl`), and the facts of
their lengths (`lengths.json`).

Lengths: prompts and answers are log-normal with means of 161.31 and 337.99 tokens, about those of ShareGPT's
conversations in Kwon et al., 2023 (https://arxiv.org/abs/2309.06180); written down from memory and not checked against
the paper. The spread of the logarithm, 1, is ours.
"""

import json
import math
import sys
from pathlib import Path

import numpy as np

PAD, EOS = 0, 1
MEAN_PROMPT, MEAN_ANSWER, LOG_SPREAD = 161.31, 337.99, 1.0
LENGTHS = "log-normal, means 161.31 (prompt) and 337.99 (answer), about ShareGPT's in arXiv:2309.06180, log spread 1"
TINY = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2}
TINY |= {"num_attention_heads": 2, "num_key_value_heads": 1}


def main() -> None:
    folder, plan = Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text())
    rng = np.random.default_rng(0)
    make_models(folder, plan["model"])
    vocabulary = plan["model"]["vocab_size"]
    chats = [answered(rng, vocabulary, plan["max_length"], plan["shrink"], answers=1) for _ in range(plan["examples"])]
    pairs = [
        answered(rng, vocabulary, plan["max_pair_length"], plan["shrink"], answers=2) for _ in range(plan["pairs"])
    ]
    write_chats(folder, chats, plan["max_length"])
    write_pairs(folder, pairs, plan["max_pair_length"])
    rows_of_text = [{"input_ids": prompt + answer} for prompt, answer in chats]
    write_dataset(folder / "text", "text", rows_of_text, plan["max_length"])
    lengths = {
        "distribution": LENGTHS,
        "lora": length_facts([len(prompt) + len(answer) for prompt, answer in chats]),
        "dpo": length_facts([len(prompt) + len(answer) for prompt, *two in pairs for answer in two]),
    }
    (folder / "lengths.json").write_text(json.dumps(lengths))


def make_models(folder: Path, shape: dict) -> None:
    """Write the tokenizer, whose words are t2, t3, …, the measured model's configuration, and a tiny model."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = ["<pad>", "</s>", *(f"t{number}" for number in range(2, shape["vocab_size"]))]
    inner = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="t2"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="</s>", pad_token="<pad>")
    config = LlamaConfig(
        **shape, pad_token_id=PAD, bos_token_id=None, eos_token_id=EOS, architectures=["LlamaForCausalLM"]
    )
    config.save_pretrained(folder / "base")
    tokenizer.save_pretrained(folder / "base")
    torch.manual_seed(0)
    tiny = LlamaForCausalLM(LlamaConfig(**{**config.to_dict(), **TINY, "head_dim": 64}))
    tiny.save_pretrained(folder / "tiny")
    tokenizer.save_pretrained(folder / "tiny")


def answered(rng: np.random.Generator, vocabulary: int, longest: int, shrink: int, answers: int) -> list[list[int]]:
    """Return the tokens of a prompt and of so many answers, each of which ends with EOS; `shrink` divides lengths."""

    def tokens(mean: float, at_most: int) -> list[int]:
        length = rng.lognormal(math.log(mean / shrink) - LOG_SPREAD**2 / 2, LOG_SPREAD)
        return rng.integers(2, vocabulary, min(max(int(length), 2), at_most)).tolist()

    prompt = tokens(MEAN_PROMPT, longest // 2)
    return [prompt, *([*tokens(MEAN_ANSWER, longest - len(prompt) - 1), EOS] for _ in range(answers))]


def write_chats(folder: Path, chats: list[list[list[int]]], max_length: int) -> None:
    rows = [{"input_ids": prompt + answer, "labels": [-100] * len(prompt) + answer} for prompt, answer in chats]
    write_dataset(folder / "chat", "chat", rows, max_length)
    write_texts(folder / "chat.jsonl", ("prompt", "completion"), chats)


def write_pairs(folder: Path, pairs: list[list[list[int]]], max_length: int) -> None:
    names = ("prompt_ids", "chosen_ids", "rejected_ids")
    write_dataset(
        folder / "preference", "preference", [dict(zip(names, pair, strict=True)) for pair in pairs], max_length
    )
    write_texts(folder / "preference.jsonl", ("prompt", "chosen", "rejected"), pairs)


def write_texts(file: Path, names: tuple[str, ...], rows: list[list[list[int]]]) -> None:
    """Write token ids as the texts that tokenize to them; answers begin with a space and end with the end token."""

    def text(ids: list[int]) -> str:
        return "".join("</s>" if number == EOS else f" t{number}" for number in ids)

    with file.open("w") as lines:
        for prompt, *others in rows:
            texts = [text(prompt).lstrip(), *map(text, others)]
            lines.write(json.dumps(dict(zip(names, texts, strict=True))) + "\n")


def write_dataset(folder: Path, kind: str, rows: list[dict], max_length: int) -> None:
    from datasets import Dataset

    Dataset.from_list(rows).save_to_disk(folder / "train")
    (folder / "dataset.json").write_text(json.dumps({"kind": kind, "max_length": max_length}))


def length_facts(lengths: list[int]) -> dict[str, float]:
    """Return mean and percentiles of the lengths of sequences, in tokens."""
    percentiles = {f"p{share}": round(float(np.percentile(lengths, share))) for share in (10, 50, 90, 99)}
    return {
        "mean": round(float(np.mean(lengths)), 1),
        **percentiles,
        "longest": max(lengths),
        "sequences": len(lengths),
    }


if __name__ == "__main__":
    main()
