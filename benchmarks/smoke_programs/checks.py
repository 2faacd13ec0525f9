"""What a GPU must compute right, each in this process: `python checks.py NAME RESULT.json`, in the smoke's folder.

RESULT gets {"figure": text}. A check that fails ends with its AssertionError. Without a GPU the shapes are tiny and the
device is the CPU.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import torch

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
sys.path.insert(0, str(SCRIPTS))
GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda" if GPU else "cpu")
ARCHITECTURE = 10  # a capability (9, 0) is sm_90
GIB = 2**30
EVALUATION_GIB = 20  # of which the weights of 8 billion parameters in 16 bits are 15


def device() -> str:
    """The libraries know this GPU, and a product of matrices is that of the CPU."""
    a, b = torch.randn(2, 256, 256, generator=torch.Generator().manual_seed(0)).unbind()
    off = float(((a.to(DEVICE) @ b.to(DEVICE)).cpu() - a @ b).abs().max())
    assert off < 1e-3, f"a product in float32 is off by {off}"
    if not GPU:
        return f"torch {torch.__version__}, no GPU"
    major, minor = torch.cuda.get_device_capability()
    known = torch.cuda.get_arch_list()
    assert f"sm_{major * ARCHITECTURE + minor}" in known, f"{major}.{minor} is not among {known}"
    nccl = ".".join(map(str, torch.cuda.nccl.version()))
    return f"{torch.cuda.get_device_name()}, torch {torch.__version__}, CUDA {torch.version.cuda}, NCCL {nccl}"


def promised() -> str:
    """A GPU that was promised and that torch cannot use is an error, in the first second."""
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); from heirloom.distributed import check_device; check_device()"
    )
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "HEIRLOOM_DEVICE": "gpu"}
    command = [sys.executable, "-c", program, str(SCRIPTS)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode and "was promised to this rank" in done.stderr, done.stderr[-2000:]
    return "refused with torch's reason"


def memory() -> str:
    """Memory that runs out is told in a sentence."""
    from heirloom.failures import sentence_of

    try:
        torch.empty(1 << 50, dtype=torch.uint8, device=DEVICE)
    except RuntimeError as error:
        said = sentence_of(error) or ""
    assert "ran out of" in said and (not GPU or "GPU memory" in said), said
    return "told in a sentence"


def quantized() -> str:
    """A product with nf4 weights is that with the weights which they stand for."""
    import bitsandbytes
    from bitsandbytes import functional

    kind = torch.bfloat16 if GPU else torch.float32
    weights = torch.randn(256, 256, generator=torch.Generator().manual_seed(1)).to(DEVICE, kind)  # (out, in)
    rows = torch.randn(8, 256, generator=torch.Generator().manual_seed(2)).to(DEVICE, kind)  # (B, in)
    packed, state = functional.quantize_4bit(weights, quant_type="nf4", blocksize=64)
    plain = functional.dequantize_4bit(packed, state)
    off = float((bitsandbytes.matmul_4bit(rows, packed.t(), state) - rows @ plain.t()).float().abs().max())
    limit = 0.5 if GPU else 1e-3  # bf16 rounds sums of about 16 to an eighth
    assert off < limit, f"off by {off}"
    return f"off by at most {off:.2g}"


def lm_head() -> str:
    """TRL's fused head gives the log-probabilities and gradients of plain logits; a batch without labels gives none."""
    from transformers import LlamaConfig, LlamaForCausalLM
    from trl.trainer.utils import add_fused_lm_head

    vocabulary, rows, length = (128_256, 4, 512) if GPU else (512, 2, 32)
    sizes = {"hidden_size": 512, "intermediate_size": 512} if GPU else {"hidden_size": 64, "intermediate_size": 64}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 4, "num_hidden_layers": 1}
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(vocab_size=vocabulary, **sizes, **heads))
    model = model.to(DEVICE, torch.bfloat16 if GPU else torch.float32)
    add_fused_lm_head(model)
    ids = torch.randint(vocabulary, (rows, length), device=DEVICE)  # (B, T)
    labels = ids.clone()
    labels[:, : length // 3] = -100
    labels[-1] = -100  # a whole row
    found = {}
    for way in ("plain", "fused"):
        model.zero_grad()
        if way == "plain":
            logits = model(input_ids=ids).logits[:, :-1].float()  # (B, T - 1, V)
            chosen = ids[:, 1:, None]
            scores = logits.log_softmax(-1).gather(-1, chosen)[..., 0]
        else:
            scores = model(input_ids=ids, labels=labels, fused_lm_head=True).log_probs.float()  # (B, T - 1)
        kept = torch.where(labels[:, 1:] != -100, scores, 0.0)
        kept.mean().backward()
        found[way] = [kept.detach(), model.lm_head.weight.grad.float()]
    off = float((found["plain"][0] - found["fused"][0]).abs().max())
    gradients = [each[1] for each in found.values()]
    apart = float((gradients[0] - gradients[1]).norm() / gradients[0].norm())
    assert off < (0.1 if GPU else 1e-4), f"log-probabilities are off by {off} nats"
    assert apart < (0.05 if GPU else 1e-4), f"gradients are off by {apart:.1%}"
    model.zero_grad()
    nothing = model(input_ids=ids, labels=torch.full_like(labels, -100), fused_lm_head=True).log_probs
    torch.nan_to_num(nothing, nan=torch.inf).sum().backward()
    assert float(model.lm_head.weight.grad.abs().max()) == 0, "a batch without labels moves the weights"
    return f"log-probabilities off by {off:.1e} nats, gradients by {apart:.1e}"


def packed_attention() -> str:
    """torch's kernel of variable length is right here, and a model has the logits of sdpa by it; how fast each is."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from heirloom.training.batches.document_isolation import ROUNDING
    from heirloom.training.batches.packed_attention import SDPA, VARLEN, use
    from heirloom.training.batches.varlen_kernel import borders_of, wrong_here

    config = LlamaConfig(
        vocab_size=512, hidden_size=4096, intermediate_size=512, num_hidden_layers=1, num_attention_heads=32,
        num_key_value_heads=8,
    )  # fmt: skip
    if not GPU:
        assert "fails here" in str(wrong_here(config, torch.bfloat16, DEVICE))
        return "no GPU: torch has no such kernel, and says so"
    for kind in (torch.bfloat16, torch.float16):
        wrong = wrong_here(config, kind, DEVICE)
        assert wrong is None, f"the kernel in {kind} {wrong}"
    torch.manual_seed(0)
    model = LlamaForCausalLM(config).to(DEVICE, torch.bfloat16).train()
    lengths = (300,) * 54  # 16,200 tokens
    borders, longest = borders_of(lengths, DEVICE)
    batch = {
        "input_ids": torch.randint(512, (1, sum(lengths)), device=DEVICE),  # (1, T)
        "position_ids": torch.cat([torch.arange(length) for length in lengths])[None].to(DEVICE),
        "cu_seq_lens_q": borders,
        "cu_seq_lens_k": borders,
        "max_length_q": longest,
        "max_length_k": longest,
    }
    found, figures = {}, []
    for way in (VARLEN, SDPA):
        use(model, way)
        with torch.no_grad():
            found[way] = model(**batch, use_cache=False).logits.float()
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.reset_peak_memory_stats()
        start.record()
        for _ in range(5):
            model(**batch, use_cache=False).logits.float().square().mean().backward()
        end.record()
        torch.cuda.synchronize()
        peak = torch.cuda.max_memory_allocated() / GIB
        figures.append(f"{way} {start.elapsed_time(end) / 5:.0f} ms a step of one layer, {peak:.1f} GiB")
    off = float((found[VARLEN] - found[SDPA]).abs().max() / found[SDPA].std())
    assert off < ROUNDING, f"logits are off by {off:.0%} of their spread"
    return f"logits off by {off:.1%}; {', '.join(figures)}"


def checkpoints() -> str:
    """Every checkpoint that was trained before gives on the GPU the losses that it gives on the CPU, in float32."""
    from transformers import AutoModelForCausalLM

    torch.backends.cuda.matmul.allow_tf32 = False
    folders = sorted(file.parent for file in Path("out").glob("*/config.json"))
    assert folders, "no checkpoint is there: run cases of training with this one"
    worst = 0.0
    for folder in folders:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True).eval()
        ids = torch.randint(model.config.vocab_size, (2, 64), generator=torch.Generator().manual_seed(0))  # (B, T)
        losses = []
        for place in (torch.device("cpu"), DEVICE):
            with torch.no_grad():
                losses.append(float(model.to(place)(input_ids=ids.to(place), labels=ids.to(place)).loss))
        off = abs(losses[0] - losses[1])
        assert off < 1e-4, f"{folder.name}: {losses[1]} on {DEVICE} and {losses[0]} on the CPU"
        worst = max(worst, off)
    return f"{len(folders)} checkpoints, losses off by at most {worst:.1e}"


def evaluation() -> str:
    """Held-out losses of 8 rows of 2,048 tokens by a model of 8 billion parameters: memory, and a plain pass's sum."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from heirloom.evaluation.likelihoods.log_likelihood import negative_log_likelihoods

    shape = json.loads(Path("base/config.json").read_text())
    rows, length = (8, 2048) if GPU else (2, 32)
    torch.manual_seed(0)
    with DEVICE:
        torch.set_default_dtype(torch.bfloat16)
        model = LlamaForCausalLM(LlamaConfig(**shape)).eval()
        torch.set_default_dtype(torch.float32)
    ids = torch.randint(2, shape["vocab_size"], (rows, length)).tolist()
    if GPU:
        torch.cuda.reset_peak_memory_stats()
    with torch.no_grad():
        found = negative_log_likelihoods(model, [(row, row) for row in ids])
    peak = torch.cuda.max_memory_allocated() / GIB if GPU else 0
    one = torch.tensor(ids[:1], device=DEVICE)  # (1, T)
    with torch.no_grad():
        logits = model(input_ids=one).logits[0, :-1].float()  # (T - 1, V)
    plain = float(torch.nn.functional.cross_entropy(logits, one[0, 1:], reduction="sum"))
    off = abs(found[0][0] - plain) / plain
    assert off < 1e-2, f"a row has {found[0][0]:.1f} nats, by the plain pass {plain:.1f}"
    assert peak < EVALUATION_GIB, f"the peak is {peak:.1f} GiB"
    return f"peak {peak:.1f} GiB, losses off by {off:.1e}"


CHECKS = {
    function.__name__.replace("_", "-"): function
    for function in (device, promised, memory, quantized, lm_head, packed_attention, checkpoints, evaluation)
}


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps({"figure": CHECKS[sys.argv[1]]()}))
