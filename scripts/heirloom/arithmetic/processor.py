"""Which instruction sets this processor has, and the variables that hold the libraries of arithmetic to one of them.

torch (ATen), oneMKL and oneDNN each choose the widest instructions that they know of a processor, and every width adds
in another order: the same program gives other last digits on another kind of processor. No torch is needed here.
"""

from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
RECORDED = "arithmetic.json"
"""The file in a work folder in which ranks leave what they compute with (heirloom.arithmetic.instruction_sets)."""
NEEDED = {
    "AVX512": ("avx512f", "avx512bw", "avx512dq", "avx512vl", "avx2", "fma"),
    "AVX2": ("avx2", "fma"),
    "DEFAULT": (),
}
"""ATen's names of its instruction sets → what the kernel calls their parts, the widest first. Source: torch's
aten/src/ATen/native/DispatchStub.cpp."""
PINS = {
    "AVX512": {
        "ATEN_CPU_CAPABILITY": "avx512",
        "MKL_ENABLE_INSTRUCTIONS": "AVX512",
        "ONEDNN_MAX_CPU_ISA": "AVX512_CORE",
    },
    "AVX2": {"ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
    "DEFAULT": {"ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE", "ONEDNN_MAX_CPU_ISA": "SSE41"},
}
"""What makes a processor that has more compute as one whose widest set is this."""
PORTABLE = {"ATEN_CPU_CAPABILITY": "avx2", "MKL_CBWR": "COMPATIBLE", "ONEDNN_MAX_CPU_ISA": "AVX2"}
"""What makes every x86-64 processor with AVX2, of any maker, give the same bytes."""


def facts_of_processor() -> tuple[str, frozenset[str]]:
    """Return the maker's name as the processor tells it ("GenuineIntel", "AuthenticAMD"), and what it can do.

    Both are empty where Linux does not say so: on another system, or a processor that is no x86-64.
    """
    if not CPUINFO.is_file():
        return "", frozenset()
    lines = CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    told = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in reversed(lines))}
    return told.get("vendor_id", ""), frozenset(told.get("flags", "").split())


def has(instructions: str) -> bool:
    """Say whether this processor has an instruction set, by ATen's name; False for a name that is not known here."""
    return instructions in NEEDED and facts_of_processor()[1].issuperset(NEEDED[instructions])


def widest() -> str:
    """Return ATen's name of the widest instruction set that this processor has."""
    return next(filter(has, NEEDED))
