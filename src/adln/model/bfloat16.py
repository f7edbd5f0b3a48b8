"""Whether a processor has instructions for bfloat16."""

import torch

_NAMES = ("avx512_bf16", "amx_bf16", "bf16")  # x86, x86, ARM
NOTICE = "this processor has no bfloat16 instructions: computing in float32, which is faster here"


def saves_time(device: torch.device | str) -> bool:
    """Whether a device, or "auto", computes faster in bfloat16 than in float32.

    PyTorch computes in bfloat16 anywhere, but without such instructions far more slowly: Res2 took
    seven times as long as in float32 on one core of an AMD EPYC of the third generation (AVX2).
    """
    if device == "auto":
        device = torch.accelerator.current_accelerator(check_available=True) or "cpu"
    kind = torch.device(device).type
    if kind == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    abilities = torch.cpu.get_capabilities()
    return kind != "cpu" or any(abilities.get(name, False) for name in _NAMES)
