"""The plan's rows are those that a training takes: packed and joined ones are fewer, and as long as they may be."""

import pytest

from heirloom.estimates.model_flops import ModelFlops
from heirloom.estimates.setups import attended_tokens, trained_rows
from heirloom.estimates.steps import Rows

COUNTED = Rows(1000, 16_000, 40, exact=True)  # of at most 128 tokens by the dataset's file


@pytest.mark.parametrize(
    ("run", "keys", "expected", "attended"),
    [
        ("sft", "", COUNTED, 16),
        ("sft", "packing: true", Rows(125, 16_000, 128, exact=False), 16),
        ("sft", "packing: true, seq_length: 160", Rows(100, 16_000, 160, exact=False), 16),
        ("sft", "packing: true, packing_strategy: wrapped", Rows(125, 16_000, 128, exact=True), 16),
        ("pretrain", "seq_length: 150", Rows(106, 15_900, 150, exact=True), 150),
    ],
)
def test_rows_as_they_are_trained_on(workplace, run, keys, expected, attended):
    more = "".join(f"  {key}\n" for key in filter(None, keys.split(", ")))
    workplace.change(f"config/runs/{run}.yaml", "training:\n", f"training:\n{more}")
    project = workplace.load()
    assert trained_rows(project.runs[run], project, COUNTED) == (expected, attended)


@pytest.mark.parametrize(
    ("keys", "card", "attended", "reason"),
    [
        ("packing: true, bf16: true", "A100", 16, None),
        ("packing: true, bf16: true, attn_implementation: flash_attention_2", "A100", 16, None),
        ("bf16: true", "T4", 16, None),
        ("packing: true, bf16: true, attn_implementation: sdpa", "A100", 512, "attn_implementation: sdpa does"),
        ("packing: true, fp16: true", "V100-SXM2", 512, "a V100-SXM2 is older than torch's kernel of variable length"),
        ("packing: true", "A100", 512, "torch's kernel of variable length has 16-bit floats alone (bf16: true)"),
        ("packing: true, default_dtype: bfloat16", "A100", 16, None),
        ("padding_free: true", "T4", 64, "a T4 is older than torch's kernel of variable length"),
    ],
)
def test_rows_that_attention_computes_whole_cost_more(workplace, keys, card, attended, reason):
    """Four rows of 128 packed tokens in a forward pass, or of 16, and documents of 16, in a model of little else."""
    more = "".join(f"  {key}\n" for key in (*keys.split(", "), "per_device_train_batch_size: 4"))
    workplace.change("config/runs/sft.yaml", "training:\n", f"training:\n{more}")
    project = workplace.load()
    run = project.runs["sft"]
    rows, apart = trained_rows(run, project, COUNTED)
    found, sentence = attended_tokens(run, card, rows, apart, ModelFlops(weights=1000, trained=1000, attention=10), 2)
    assert found == attended
    # 6 N + 12 L H Q T: 6,000 + 1,920 where documents stay apart
    share = {16: None, 64: "73%", 512: "752%"}[attended]
    if reason is None:
        assert sentence is None
        return
    assert sentence == (
        f"attention computes packed rows whole, {attended} tokens and not the 16 of a document ({share} more "
        f"operations): {reason}"
    )
