"""Every weight type in NumPy, from the format's description, and makers of its blocks.

`decode` is the float64 oracle of the kernel tests. It shares only facts with the C++, and
test_quant.py holds it against the gguf package and llama.cpp.
"""

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.uint8]
Floats64 = NDArray[np.float64]

BLOCKS = {
    "f32": [("x", "<f4")],
    "f16": [("x", "<f2")],
    "bf16": [("x", "<u2")],
    "q8_0": [("d", "<f2"), ("qs", "i1", 32)],
    "q4_0": [("d", "<f2"), ("qs", "u1", 16)],
    "q4_1": [("d", "<f2"), ("m", "<f2"), ("qs", "u1", 16)],
    "q5_0": [("d", "<f2"), ("qh", "u1", 4), ("qs", "u1", 16)],
    "q5_1": [("d", "<f2"), ("m", "<f2"), ("qh", "u1", 4), ("qs", "u1", 16)],
    "q2_k": [("sc", "u1", 16), ("qs", "u1", 64), ("d", "<f2"), ("dmin", "<f2")],
    "q3_k": [("hmask", "u1", 32), ("qs", "u1", 64), ("sc", "u1", 12), ("d", "<f2")],
    "q4_k": [("d", "<f2"), ("dmin", "<f2"), ("sc", "u1", 12), ("qs", "u1", 128)],
    "q5_k": [("d", "<f2"), ("dmin", "<f2"), ("sc", "u1", 12), ("qh", "u1", 32), ("qs", "u1", 128)],
    "q6_k": [("ql", "u1", 128), ("qh", "u1", 64), ("sc", "i1", 16), ("d", "<f2")],
    "iq4_nl": [("d", "<f2"), ("qs", "u1", 16)],
    "iq4_xs": [("d", "<f2"), ("sh", "<u2"), ("sc", "u1", 4), ("qs", "u1", 128)],
    "mxfp4": [("e", "u1"), ("qs", "u1", 16)],
}
DTYPES = {quant: np.dtype(fields) for quant, fields in BLOCKS.items()}
WEIGHTS = {
    quant: 256 if quant.endswith(("_k", "_xs")) else 1 if quant in ("f32", "f16", "bf16") else 32
    for quant in BLOCKS
}
CODES = ("qs", "qh", "ql", "hmask")  # the fields that hold the weights' own bits
FACTORS = ("sc", "sh")  # integer scales and minimums
HALVES = ("d", "m", "dmin")

IQ4 = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113.0])
E2M1 = np.array([0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12.0])


def blocks_of(quant: str, rows: Rows) -> np.ndarray:
    """Bytes (N, row bytes) as records (N, blocks)."""
    return np.ascontiguousarray(rows).view(DTYPES[quant])


def bytes_of(blocks: np.ndarray) -> Rows:
    """Records (N, blocks) as bytes (N, row bytes)."""
    return np.ascontiguousarray(blocks).view(np.uint8).reshape(len(blocks), -1)


def nibbles(qs: np.ndarray) -> np.ndarray:
    """(..., 16) bytes to (..., 32): all the low halves, then all the high ones."""
    return np.concatenate([qs & 15, qs >> 4], axis=-1)


def planes(field: np.ndarray, bits: int) -> np.ndarray:
    """(..., L) bytes to (..., 8 / bits, L): plane p holds bits p * bits and up of every byte."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)[:, None]
    return (field[..., None, :] >> shifts) & (2**bits - 1)


def six_bit(sc: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The 12 bytes of Q4_K and Q5_K to eight scales and eight minimums."""
    a, b, c = sc[..., 0:4], sc[..., 4:8], sc[..., 8:12]
    scale = np.concatenate([a & 63, (c & 15) | (a >> 6 << 4)], axis=-1)
    least = np.concatenate([b & 63, (c >> 4) | (b >> 6 << 4)], axis=-1)
    return scale, least


def integers(quant: str, b: np.ndarray) -> np.ndarray:
    """Integers (or levels), offsets applied, of records (N, B): (N, B, block) float64."""
    flat = (*b.shape, WEIGHTS[quant])
    match quant:
        case "q8_0":
            q = b["qs"]
        case "q4_0":
            q = nibbles(b["qs"]) - 8.0
        case "q4_1":
            q = nibbles(b["qs"])
        case "q5_0" | "q5_1":
            fifth = np.unpackbits(b["qh"], axis=-1, bitorder="little")
            q = nibbles(b["qs"]) + 16.0 * fifth - (16 if quant == "q5_0" else 0)
        case "iq4_nl":
            q = IQ4[nibbles(b["qs"])]
        case "iq4_xs":
            q = IQ4[nibbles(b["qs"].reshape(*b.shape, 8, 16))]
        case "mxfp4":
            q = E2M1[nibbles(b["qs"])]
        case "q2_k":
            q = planes(b["qs"].reshape(*b.shape, 2, 32), 2)
        case "q3_k":
            low = planes(b["qs"].reshape(*b.shape, 2, 32), 2).reshape(flat)
            q = low + 4.0 * planes(b["hmask"], 1).reshape(flat) - 4
        case "q4_k":
            q = planes(b["qs"].reshape(*b.shape, 4, 32), 4)
        case "q5_k":
            low = planes(b["qs"].reshape(*b.shape, 4, 32), 4).reshape(flat)
            q = low + 16.0 * planes(b["qh"], 1).reshape(flat)
        case "q6_k":
            low = planes(b["ql"].reshape(*b.shape, 2, 64), 4).reshape(flat)
            q = low + 16.0 * planes(b["qh"].reshape(*b.shape, 2, 32), 2).reshape(flat) - 32
        case _:
            raise ValueError(f"{quant} has no integers")
    return q.astype(np.float64).reshape(flat)


def factors(quant: str, b: np.ndarray) -> tuple[Floats64, Floats64]:
    """Scale and minimum of each sub-block, (N, B, subs) float64 each: w = scale * q - minimum."""
    d = np.float64(1) if quant == "mxfp4" else b["d"].astype(np.float64)[..., None]
    match quant:
        case "q4_1" | "q5_1":
            return d, -b["m"].astype(np.float64)[..., None]
        case "mxfp4":
            return np.ldexp(1.0, b["e"].astype(np.int32) - 128)[..., None], np.float64(0)
        case "q2_k":
            return d * (b["sc"] & 15), b["dmin"].astype(np.float64)[..., None] * (b["sc"] >> 4)
        case "q4_k" | "q5_k":
            scale, least = six_bit(b["sc"])
            return d * scale, b["dmin"].astype(np.float64)[..., None] * least
        case "q3_k":
            low = nibbles(b["sc"][..., :8])
            high = planes(b["sc"][..., 8:], 2).reshape(low.shape)
            return d * ((low | high << 4) - 32.0), np.float64(0)
        case "q6_k":
            return d * b["sc"], np.float64(0)
        case "iq4_xs":
            low = np.stack([b["sc"] & 15, b["sc"] >> 4], axis=-1).reshape(*b.shape, 8)
            high = (b["sh"][..., None] >> np.arange(0, 16, 2)) & 3
            return d * ((low | high << 4) - 32.0), np.float64(0)
        case _:
            return d, np.float64(0)


def terms(quant: str, rows: Rows) -> tuple[Floats64, Floats64]:
    """Both terms of every weight, (N, K) each: w = product - minimum."""
    b = blocks_of(quant, rows)
    if WEIGHTS[quant] == 1:
        x = b["x"]
        if quant == "bf16":
            x = (x.astype(np.uint32) << 16).view(np.float32)
        return x.astype(np.float64), np.zeros(b.shape)
    q = integers(quant, b)
    scale, least = (np.atleast_3d(f) for f in factors(quant, b))
    spread = q.shape[-1] // scale.shape[-1]
    product = q * np.repeat(scale, spread, axis=-1)
    least = np.repeat(least, q.shape[-1] // least.shape[-1], axis=-1)
    flat = (len(rows), -1)
    return product.reshape(flat), np.broadcast_to(least, q.shape).reshape(flat)


def decode(quant: str, rows: Rows) -> Floats64:
    """The exact values of file rows: bytes (N, row bytes) to (N, K) float64."""
    product, least = terms(quant, rows)
    return product - least


def magnitude(quant: str, rows: Rows) -> Floats64:
    """What a float error in summing a row is relative to, (N, K): the range of a weight's block.

    A kernel may offset the integers: zero times a large scale counts as the greatest one does.
    """
    b = blocks_of(quant, rows)
    if WEIGHTS[quant] == 1:
        return np.abs(decode(quant, rows))
    levels = {"q8_0": 128, "iq4_nl": 127, "iq4_xs": 127, "mxfp4": 12}
    greatest = levels[quant] if quant in levels else 2.0 ** int(quant[1])
    scale, least = (np.atleast_3d(f) for f in factors(quant, b))
    size = np.abs(scale) * greatest + np.abs(least)
    size = np.broadcast_to(size, (*b.shape, max(scale.shape[-1], least.shape[-1])))
    return np.repeat(size, WEIGHTS[quant] // size.shape[-1], axis=-1).reshape(len(rows), -1)


def random_rows(rng: np.random.Generator, quant: str, n: int, k: int) -> Rows:
    """N rows of K random weights, bits uniform, scales finite and of both signs."""
    if WEIGHTS[quant] == 1:
        x = (rng.standard_normal((n, k)) * 0.05).astype(np.float32)
        x = x.astype(np.float16) if quant == "f16" else x
        return bytes_of((x.view(np.uint32) >> 16).astype(np.uint16) if quant == "bf16" else x)
    dtype = DTYPES[quant]
    shape = (n, k // WEIGHTS[quant])
    rows = rng.integers(0, 256, (n, shape[1] * dtype.itemsize), dtype=np.uint8)
    b = blocks_of(quant, rows)
    for field in HALVES:
        if field in dtype.names:
            size = rng.uniform(0.25, 1, shape) * (0.1 if field == "m" else 0.01)
            b[field] = size * rng.choice([-1, 1], shape)
    if quant == "mxfp4":
        b["e"] = rng.integers(118, 124, shape)
    return rows


def extreme_rows(quant: str, k: int) -> Rows:
    """Rows of K weights at the format's edges, one for every combination of

    - the weights' bits: all least, all greatest, alternating both ways;
    - integer scales and minimums: all bits clear, all set, alternating, only the sign bit;
    - f16 scales: 1, -1, 0, -0, the least subnormal, the greatest finite value.
    """
    halves = np.array([1, -1, 0.0, -0.0, 2.0**-24, 65504], np.float16)
    if WEIGHTS[quant] == 1:
        edges = np.array([1, -1, 0.0, -0.0, 2.0**-24, -(2.0**-24), 65504, -65504], np.float32)
        if quant != "f16":
            edges = np.append(edges, np.array([1e-45, -1e-40, 2.0**100, -(2.0**100)], np.float32))
        x = np.stack([np.resize(np.roll(edges, i), k) for i in range(len(edges))])
        if quant == "bf16":
            return bytes_of((x.view(np.uint32) >> 16).astype(np.uint16))
        return bytes_of(x.astype(np.float16) if quant == "f16" else x)
    low, high = {"q8_0": (0x80, 0x7F), "mxfp4": (0xFF, 0x77)}.get(quant, (0x00, 0xFF))
    dtype, found = DTYPES[quant], []
    for pattern in ((low, low), (high, high), (low, high), (high, low)):
        for factor in ((0x00, 0x00), (0xFF, 0xFF), (0x00, 0xFF), (0x80, 0x7F)):
            for i, half in enumerate(halves):
                b = np.zeros(k // WEIGHTS[quant], dtype)
                for field in dtype.names:
                    if field in CODES or field in FACTORS:
                        bits = np.array(pattern if field in CODES else factor, np.uint8)
                        raw = np.resize(bits, (len(b), dtype[field].itemsize))
                        b[field] = raw.view(dtype[field].base).reshape(b[field].shape)
                    elif field in HALVES:
                        b[field] = half if field == "d" else halves[(i + 1) % len(halves)]
                    else:
                        b[field] = (0, 1, 2, 127, 130, 220)[i]  # powers of two
                if quant.startswith("q5_") and quant != "q5_k":  # a bit a weight, not a byte
                    b["qh"] = {(0, 0): 0, (255, 255): 255, (0, 255): 0xAA}.get(pattern, 0x55)
                found.append(b)
    return np.unique(bytes_of(np.stack(found)), axis=0)
