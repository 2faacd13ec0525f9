"""Train a tiny decoder in plain torch and print {"weights": SHA-256, "seconds" of CPU}: see ../portable_bytes.py.

It has what a Llama computes with on a CPU: matrix products of oneMKL, attention, norms, SiLU, softmax, AdamW.
"""

import argparse
import hashlib
import json
import time

import torch
from torch.nn import functional

HEADS, VOCABULARY = 4, 64


class Layer(torch.nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norms = torch.nn.ModuleList([torch.nn.RMSNorm(width), torch.nn.LayerNorm(width)])
        self.attention_in, self.attention_out = torch.nn.Linear(width, 3 * width), torch.nn.Linear(width, width)
        self.up, self.down = torch.nn.Linear(width, 4 * width), torch.nn.Linear(4 * width, width)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:  # (B, T, width) → the same
        parts = self.attention_in(self.norms[0](rows)).unflatten(-1, (3, HEADS, -1))  # (B, T, 3, heads, width/heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)  # each (B, heads, T, width/heads)
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        rows = rows + self.attention_out(mixed.transpose(1, 2).flatten(2))
        return rows + self.down(functional.silu(self.up(self.norms[1](rows))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("width", 32), ("layers", 2), ("rows", 4), ("length", 16), ("steps", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    layers = [Layer(args.width) for _ in range(args.layers)]
    head = torch.nn.Linear(args.width, VOCABULARY)
    model = torch.nn.Sequential(torch.nn.Embedding(VOCABULARY, args.width), *layers, head)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)  # what transformers takes where nobody says
    tokens = torch.randint(VOCABULARY, (args.rows, args.length + 1))  # (B, T + 1)
    started = time.process_time()
    for _ in range(args.steps):
        loss = functional.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    seconds = time.process_time() - started
    weights = hashlib.sha256(b"".join(weight.detach().numpy().tobytes() for weight in model.parameters()))
    print(json.dumps({"weights": weights.hexdigest()[:16], "seconds": round(seconds, 3)}))


if __name__ == "__main__":
    main()
