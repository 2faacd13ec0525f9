"""The peak of a GPU's memory in a training, and what it takes of the host's, from the config alone.

Weights, gradients and optimizer states as DeepSpeed 0.19 keeps them under each stage of ZeRO (Rajbhandari et al.,
2020, https://arxiv.org/abs/1910.02054), held against the real engine at three sizes in
tests/unit/test_memory_estimates.py; what the passes hold is in `model_passes`. What no CPU can show is named in
`overheads`.
"""

from dataclasses import dataclass, field

from heirloom.estimates.deepspeed_settings import DeepSpeedSettings
from heirloom.estimates.model_passes import Passes, cache
from heirloom.estimates.model_shape import ModelShape

FOUR_BITS, EIGHT_BITS = 0.5 + 4 / 64, 1.0
"""Bytes a quantized weight: NF4 has a 32-bit constant for 64 of them (https://arxiv.org/abs/2305.14314)."""
DOUBLE_QUANTIZED = 0.5 + 1 / 64 + 4 / (64 * 256)
"""The same with constants quantized, too."""


@dataclass(frozen=True)
class TrainingSetup:
    """What decides a training's memory, as the config says it."""

    shape: ModelShape
    settings: DeepSpeedSettings
    ranks: int
    tokens: int
    """Of one forward pass of a rank, both sides of pairs counted, padding too."""
    d: int
    """Bytes of a weight as it is loaded and kept."""
    checkpointing: bool = False
    adapter: int | None = None
    """Weights of the adapter; None trains everything."""
    rank: int = 0
    adapted: int = 0
    quantized: float | None = None
    """Bytes of a quantized weight."""
    loss: str = "whole"
    """whole: transformers' own; tiled: TRL's SFT, DPO, GRPO and RLOO; pairs: ORPO's; number: one number a text."""
    reference: bool = False
    """A second model gives reference log-probabilities in each step."""
    reference_pass: bool = False
    """They are computed in each step: by a second model, or by this one with its adapter switched off."""
    computed: int | None = None
    """Bytes of a number that is computed with; None: of a weight. Less: autocast keeps a copy of the weights."""
    answers: int = 0
    """Answers that a rank draws at once, to learn from them."""
    answer_tokens: int = 0
    """Of the longest prompt with the longest answer."""
    reward_models: float = 0.0
    """Bytes of those that say what an answer is worth, whole on each rank."""

    @property
    def casts(self) -> bool:
        """Whether the adapter has 32-bit weights and autocast computes with 16 bits.

        peft makes them so without DeepSpeed, which takes all to 16 bits; TRL takes those of a quantized base back.
        """
        narrow = (self.computed or self.d) < 4
        return self.adapter is not None and narrow and not self.settings.present and not self.is_plain_qlora

    @property
    def wide(self) -> bool:
        """Whether peft has prepared a quantized base: all else of it is in 32 bits. TRL does not do that."""
        return self.quantized is not None and not self.is_plain_qlora

    @property
    def is_plain_qlora(self) -> bool:
        """Whether a quantized base is trained by TRL, as its paper has it."""
        return self.quantized is not None and self.loss == "tiled"

    @property
    def adapter_bytes(self) -> int:
        """Bytes of a weight of the adapter."""
        return 4 if self.casts else self.d


@dataclass(frozen=True)
class Memory:
    """Bytes on each GPU by what takes them, the largest of the phases being one of them; and on each host, by rank."""

    parts: dict[str, float]
    host_per_rank: float = 0.0
    phase: str = ""

    @property
    def total(self) -> float:
        """The peak on a GPU, without what is not the model's (`overheads`)."""
        return sum(self.parts.values())


@dataclass
class _States:
    gpu: dict[str, float] = field(default_factory=dict)
    host: float = 0.0


def training_memory(setup: TrainingSetup) -> Memory:
    """Return the peak of a training: what is always there, and the largest of its phases."""
    states = model_states(setup)
    phases = training_phases(setup)
    phase = max(phases, key=phases.__getitem__)
    return Memory({**states.gpu, phase: phases[phase]}, states.host, phase)


def training_phases(setup: TrainingSetup) -> dict[str, float]:
    """Return what comes on top of the states while scores are computed, layers are gone back through, and so on."""
    frozen = setup.adapter is not None
    passes = Passes(
        setup.shape,
        setup.tokens,
        setup.computed or setup.d,
        frozen,
        setup.rank,
        setup.adapted,
        casts=setup.casts,
        wide=setup.wide,
    )
    kept = passes.kept(setup.checkpointing)
    scores = {
        "whole": passes.whole_scores(),
        "tiled": passes.tiled_scores(trains_output=not frozen),
        "pairs": passes.pair_scores(),
        "number": 0,
    }[setup.loss]
    transient = passing(setup)
    own_gradients = 0 if frozen else setup.d * setup.shape.layer
    drawn = {"answers": drawing(setup)} if setup.answers else {}
    return drawn | {
        "scores": kept + scores + transient,
        "layers": kept + passes.through_a_layer(setup.checkpointing) + own_gradients + transient,
        "update": updating(setup),
        "held-out rows": passes.held_out(whole=setup.settings.stage == 3) + live_parameters(setup),
    }


def drawing(setup: TrainingSetup) -> float:
    """Return what answers hold while they are drawn, see `answering_memory`; ZeRO-3 gathers all weights for it.

    Draws are taken of 64-bit probabilities and their sums (heirloom/inference/logits_processors.py).
    """
    shape, number, tokens = setup.shape, setup.answers, setup.answers * setup.answer_tokens
    keys = cache(shape, number, setup.answer_tokens, setup.computed or setup.d)
    first = tokens * (setup.computed or setup.d) * (3 * shape.intermediate + 4 * shape.hidden)
    whole = weight_bytes(setup) if setup.settings.stage == 3 else 0.0
    return keys + keys / shape.layers + first + 3 * 8 * number * shape.vocabulary + whole


def model_states(setup: TrainingSetup) -> _States:
    """Return what is there all the time, on the GPU by name and on the host: weights, gradients, optimizer states."""
    settings, shape, ranks = setup.settings, setup.shape, setup.ranks
    sharded = ranks if settings.stage == 3 else 1
    trained = shape.parameters if setup.adapter is None else setup.adapter
    found = _States()
    weights = weight_bytes(setup) / (1 if setup.quantized == EIGHT_BITS else sharded)
    adapter = (setup.adapter or 0) * setup.adapter_bytes / sharded
    reference = weights if setup.reference else 0.0
    if setup.reward_models:
        found.gpu["reward models"] = setup.reward_models
    for name, size in (("weights", weights + adapter), ("reference", reference)):
        if settings.stage == 3 and settings.parameters_on != "gpu":
            found.host += size if settings.parameters_on == "cpu" else 0
        elif size:
            found.gpu[name] = size
    if not settings.present:
        each = setup.adapter_bytes
        found.gpu |= {"gradients": 2 * trained * each, "optimizer": 2 * trained * each}  # DDP's buckets: a copy
        if setup.computed is not None and setup.computed < setup.d:
            found.gpu["16-bit copies"] = setup.computed * shape.parameters
        return found
    optimizer, gradients = deepspeed_states(setup, trained)
    if settings.optimizer_on != "gpu":
        found.host += optimizer + 4 * trained / ranks
        return found
    found.gpu |= {"optimizer": optimizer, "gradients": gradients}
    return found


def weight_bytes(setup: TrainingSetup) -> float:
    """Return the bytes of the base's weights, not sharded: in 4 or 8 bits all linear layers but the output layer."""
    shape = setup.shape
    if setup.quantized is None:
        return shape.parameters * setup.d
    rest = shape.parameters - shape.linear
    return shape.linear * setup.quantized + rest * (4 if setup.wide else setup.d)


def deepspeed_states(setup: TrainingSetup, trained: int) -> tuple[float, float]:
    """Return (32-bit weights and Adam's two moments, gradients) of one rank, bytes.

    Stage 0 keeps all of them whole. Stage 1 shards the optimizer and keeps gradients whole, with `grad_accum_dtype:
    fp32` in 32 bits beside the pass's own. Stages 2 and 3 shard gradients; stage 3 also has one bucket for ever.
    """
    settings, ranks = setup.settings, setup.ranks
    accumulated = 4 if settings.accumulates_in_float32 or setup.d == 4 else 2
    if settings.stage == 0:
        return 12 * trained if setup.d == 2 else 8 * trained, setup.d * trained
    optimizer = 12 * trained / ranks
    if settings.stage == 1:
        beside = 4 * trained if settings.accumulates_in_float32 and setup.d == 2 else 0
        return optimizer, setup.d * trained + beside
    bucket = setup.d * min(settings.reduce_bucket, 10**12) if settings.stage == 3 else 0
    return optimizer, accumulated * trained / ranks + bucket


def live_parameters(setup: TrainingSetup) -> float:
    """Return the bytes of whole weights that ZeRO-3 has gathered: it keeps those that it soon needs again."""
    if setup.settings.stage != 3:
        return 0.0
    each = setup.quantized if setup.quantized is not None else setup.d
    return min(setup.shape.parameters, setup.settings.live_parameters) * each


def passing(setup: TrainingSetup) -> float:
    """Return what a backward pass holds beside activations: buckets of gradients, gathered weights.

    deepspeed/runtime/zero/stage_1_and_2.py allocates one bucket of reduce_bucket_size, with overlap_comm two.
    """
    settings = setup.settings
    if not settings.present or settings.stage == 0:
        return 0.0
    if settings.stage == 3:
        return live_parameters(setup)
    buckets = (2 if settings.overlap else 1) if settings.contiguous and not fp32_stage_1(setup) else 0
    return buckets * settings.reduce_bucket * setup.d


def fp32_stage_1(setup: TrainingSetup) -> bool:
    """Say whether DeepSpeed takes its BF16_Optimizer, which has no buckets: stage 1, bf16, gradients in float32."""
    return setup.settings.stage == 1 and setup.settings.accumulates_in_float32 and setup.d == 2


def updating(setup: TrainingSetup) -> float:
    """Return what the optimizer's step holds: this rank's gradients in 32 bits, twice while they are clipped."""
    trained = setup.shape.parameters if setup.adapter is None else setup.adapter
    settings = setup.settings
    if not settings.present or settings.optimizer_on != "gpu":
        return 0.0
    if settings.stage == 0:
        return 4 * trained if setup.d == 2 else 0.0
    if fp32_stage_1(setup):
        return 0.0
    gradients = deepspeed_states(setup, trained)[1]
    own = gradients - (setup.d * settings.reduce_bucket if settings.stage == 3 else 0)
    return max(8 * trained / setup.ranks - own, 0.0)
