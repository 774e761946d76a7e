"""Memory of GPU models, for the profile's key `gpu`.

Capacities are the data sheets' (nvidia.com/data-center, product briefs). A data sheet's gigabyte is here read as a GiB:
nvidia-smi shows 81,559 MiB for an H100 of 80 GB, 143,771 MiB for an H200 of 141 GB, 183,359 MiB for a B200 of 180 GB.
"""

from __future__ import annotations

GIB = 2**30
RUNTIME = 2 * GIB  # CUDA's context, NCCL's buffers, cuBLAS' workspaces: a round number for all three
USABLE = 0.95  # of the capacity: the driver keeps some, and some is lost to fragmentation
MEMORY: dict[str, int] = {  # GiB
    "A10": 24,
    "A30": 24,
    "A40": 48,
    "A100-40": 40,
    "A100-80": 80,
    "A800": 80,
    "B200": 180,
    "B300": 270,
    "GB200": 186,
    "GB300": 278,
    "GH200": 96,
    "H20": 96,
    "H100": 80,
    "H100-NVL": 94,
    "H200": 141,
    "H800": 80,
    "L4": 24,
    "L40": 48,
    "L40S": 48,
    "RTX-3090": 24,
    "RTX-4090": 24,
    "RTX-5090": 32,
    "RTX-6000-ADA": 48,
    "RTX-A6000": 48,
    "RTX-PRO-6000": 96,
    "T4": 16,
    "V100-16": 16,
    "V100-32": 32,
}

# Dense products in bfloat16, from the same data sheets; where those give the rate with sparsity, half of it.
PEAK_TFLOPS: dict[str, float] = {
    "A10": 125,
    "A30": 165,
    "A40": 150,
    "A100-40": 312,
    "A100-80": 312,
    "A800": 312,
    "B200": 2250,
    "B300": 2250,
    "GB200": 2500,
    "GB300": 2500,
    "GH200": 989,
    "H20": 148,
    "H100": 989,
    "H100-NVL": 835,
    "H200": 989,
    "H800": 989,
    "L4": 121,
    "L40": 181,
    "L40S": 362,
}


def peak(name: str) -> float | None:
    """Operations a second in bfloat16; None where the model or its peak is not known. `NVIDIA H100 PCIe` has less."""
    words = name.upper()
    known = _known(name)
    return PEAK_TFLOPS[known] * 1e12 if known in PEAK_TFLOPS and "PCIE" not in words else None


def memory(name: str) -> int | None:
    """GiB of a model: `H100`, `h100`, `NVIDIA H100 80GB HBM3`, `A100-SXM4-80GB`; None where that is not sure."""
    known = _known(name)
    return MEMORY[known] if known else None


def _known(name: str) -> str | None:
    """The model's name in MEMORY."""
    words = name.upper().replace("_", "-").replace(" ", "-").split("-")
    words = [word.removesuffix("GB") if word.removesuffix("GB").isdigit() else word for word in words]
    words = [word for word in words if word not in _NOISE]
    for length in range(len(words), 0, -1):
        found = "-".join(words[:length])
        rest = [int(word) for word in words[length:] if word.isdigit()]
        if found in MEMORY and all(size == MEMORY[found] for size in rest):
            return found
    return None


_NOISE = {
    "NVIDIA",
    "TESLA",
    "GEFORCE",
    "SXM",
    "SXM2",
    "SXM3",
    "SXM4",
    "SXM5",
    "PCIE",
    "HBM2",
    "HBM2E",
    "HBM3",
    "HBM3E",
}
