"""Models whose header lies about what they hold: one clear exception, or a model that runs."""

from __future__ import annotations

import math
import os
import random
import struct
from pathlib import Path

import gguf
import pytest

import edgelm
import edgelm.model
import gguf_bytes as g
from arch_models import MODELS
from edgelm.errors import EdgelmError, ModelFormatError
from gguf_parts import GgufParts
from tiny_models import TinyLlama

TEMPLATE = {"tokenizer.chat_template": "{{ messages[0]['content'] }}"}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> tuple[bytes, int]:
    """A model's bytes, and where its tensors begin."""
    folder = tmp_path_factory.mktemp("hostile")
    path = TinyLlama(n_layers=1, metadata=TEMPLATE).write(folder / "tiny.gguf")
    return path.read_bytes(), min(t.data_offset for t in gguf.GGUFReader(path).tensors)


def use(path: Path) -> None:
    with edgelm.load(path, n_ctx=64, n_threads=1) as model:
        model.generate("hello", max_tokens=3, temperature=0)
        model.chat([{"role": "user", "content": "x"}], max_tokens=1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_mutated_headers(tmp_path, tiny, seed):
    whole, n_header = tiny
    rng = random.Random(seed)
    used = refused = 0
    for i in range(250):
        mutant = bytearray(whole)
        for _ in range(rng.randint(1, 3)):
            byte = rng.choice([0, 1, 2, 0x7F, 0x80, 0xFF, rng.randrange(256)])
            mutant[rng.randrange(24, n_header)] = byte
        path = tmp_path / f"{i}.gguf"
        path.write_bytes(mutant)
        try:
            use(path)
            used += 1
        except (EdgelmError, ValueError) as error:
            refused += not isinstance(error, UnicodeError)
        path.unlink()
    assert used > 10
    assert used + refused == 250


def changed(tmp_path: Path, whole: bytes, old: bytes, new: bytes) -> Path:
    assert whole.count(old) == 1
    assert len(old) == len(new)
    path = tmp_path / "m.gguf"
    path.write_bytes(whole.replace(old, new))
    return path


def dims(name: str, *sizes: int) -> bytes:
    """A tensor table's row up to its dimensions."""
    fields = [len(name), *sizes]
    first, *rest = (n.to_bytes(8, "little") for n in fields)
    return first + name.encode() + len(sizes).to_bytes(4, "little") + b"".join(rest)


def test_tensors_that_do_not_fit_each_other(tmp_path, tiny):
    name = "blk.0.ffn_gate.weight"
    path = changed(tmp_path, tiny[0], dims(name, 64, 96), dims(name, 64, 95))
    with pytest.raises(ModelFormatError, match=r"does not fit architecture 'llama': .*gate"):
        use(path)


def test_tensors_that_fit_each_other_but_not_the_metadata(tmp_path, tiny):
    def key(n: int) -> bytes:
        return b"llama.embedding_length" + (4).to_bytes(4, "little") + n.to_bytes(4, "little")

    path = changed(tmp_path, tiny[0], key(64), key(128))
    with pytest.raises(ModelFormatError, match="embedding_length' is 128 but the tensors have 64"):
        use(path)


def test_a_merge_that_is_no_utf8(tmp_path, tiny):
    length = (4).to_bytes(8, "little")
    path = changed(tmp_path, tiny[0], length + "Ġ t".encode(), length + b"\xc4\xa0 \xff")
    with pytest.raises(ModelFormatError, match=r"merges.*Ġ \ufffd"):
        use(path)


# --- every architecture, with any value under any key ---------------------------------------------


def scalar(kind: int, number: float) -> bytes:
    return struct.pack("<I", kind) + g.number(kind, number)


def text(content: str | bytes) -> bytes:
    return struct.pack("<I", g.STRING) + g.string(content)


def several(kind: int, items: list[bytes]) -> bytes:
    return struct.pack("<IIQ", g.ARRAY, kind, len(items)) + b"".join(items)


INTEGERS = (0, 1, 2, 3, 7, 16, 64, 255, 1000, 65535, 1 << 20, 2**31 - 1, 2**31, 2**32 - 1)
FLOATS = (0.0, -1.0, 0.5, 1.0, 1.0000001, 1e38, 1e-45, math.nan, math.inf, -math.inf)
TEXTS = (
    "",
    "none",
    "linear",
    "yarn",
    "gpt2",
    "llama",
    "bert",
    "t5",
    "x" * 5000,
    b"\xff\0\xfe\x1b[2J",
)
VALUES = [
    *(scalar(g.U32, n) for n in INTEGERS),
    *(scalar(g.I32, n) for n in (-1, -(2**31))),
    *(scalar(g.I64, n) for n in (-1, -(2**63), 2**63 - 1)),
    *(scalar(g.U64, n) for n in (2**63, 2**64 - 1)),
    *(scalar(g.F32, x) for x in FLOATS),
    *(scalar(g.F64, x) for x in (1e308, 5e-324, math.nan)),
    *(scalar(g.BOOL, b) for b in (0, 1)),
    *map(text, TEXTS),
    several(g.I32, []),
    *(several(g.I32, [g.number(g.I32, n)] * 300) for n in (-1, 0, 1, 9)),
    several(g.U32, [g.number(g.U32, n) for n in (2, 2, 4)]),
    several(g.U64, [g.number(g.U64, 2**64 - 1)] * 3),
    several(g.F32, [g.number(g.F32, math.nan)] * 300),
    several(g.BOOL, [b"\1"] * 3),
    *(several(g.STRING, [g.string(t)] * 300) for t in ("", "a", "a b", b"\xff\0")),
    several(g.STRING, [g.string("a" * 100_000)] * 3),
]
OWN_KEYS = (
    *["rope.scaling.type", "rope.scaling.factor", "rope.scaling.original_context_length"],
    *["rope.scaling.attn_factor", "rope.dimension_count", "rope.freq_base"],
    *["attention.key_length", "attention.value_length", "attention.scale"],
    *["attention.sliding_window", "attn_logit_softcapping", "final_logit_softcapping"],
    *["expert_count", "expert_used_count", "expert_weights_scale"],
    *["logit_scale", "embedding_scale", "residual_scale"],
    *["attention.clamp_kqv", "use_parallel_residual"],
)
TOKENIZER_KEYS = (
    *["bos_token_id", "eos_token_id", "eot_token_id"],
    *["unknown_token_id", "add_bos_token", "pre"],
    *["scores", "add_space_prefix", "precompiled_charsmap"],
    *["remove_extra_whitespaces", "token_type", "model"],
)
NAMES = (
    *["rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"],
    *["output.weight", "output.bias", "blk.0.attn_q.bias"],
    *["blk.0.attn_qkv.weight", "position_embd.weight", "blk.0.ffn_gate_inp.weight"],
)


def lie(parts: GgufParts, architecture: str, rng: random.Random) -> str:
    """Change one thing; what."""
    how = rng.choice(["value"] * 6 + ["drop", "swap", "turn", "dims", "type", "remove", "rename"])
    one = rng.choice(parts.tensors)
    if how == "value":
        keys = [*parts.values, "tokenizer.chat_template", "general.name", "split.count"]
        keys += [f"{architecture}.{key}" for key in OWN_KEYS]
        keys += [f"tokenizer.ggml.{key}" for key in TOKENIZER_KEYS]
        key, value = rng.choice(keys), rng.choice(VALUES)
        parts.values[key] = value
        return f"{key} = {value[:40]!r}"
    if how == "drop":
        key = rng.choice(list(parts.values))
        del parts.values[key]
        return f"no {key}"
    if how == "swap":
        other = rng.choice(parts.tensors)
        one[0], other[0] = other[0], one[0]
    elif how == "turn":
        one[1].reverse()
    elif how == "dims":
        size = math.prod(one[1])
        one[1] = rng.choice([[size], [1, size], [size, 1], [8, size // 8], [1, *one[1][:3]]])
    elif how == "type":
        one[2] = rng.choice([0, 1, 2, 3, 8, 10, 12, 14, 20, 30, 39])
    elif how == "remove":
        parts.tensors.remove(one)
    else:
        one[0] = rng.choice(NAMES)
    return f"{how} {one}"


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> dict[str, tuple[str, GgufParts]]:
    """Each test model's architecture and parts."""
    path = tmp_path_factory.mktemp("sound") / "m.gguf"
    models = {}
    for name, model in MODELS.items():
        model.write(path)
        parts = GgufParts.of(path.read_bytes())
        parts.values["tokenizer.chat_template"] = text("{{ messages[0].content }}")
        models[name] = model.architecture, parts
    return models


def test_taken_apart_and_put_together_again(tmp_path, tiny):
    """Or every case below would fail for a reason of its own."""
    assert bytes(GgufParts.of(tiny[0])) == tiny[0]


@pytest.mark.slow
@pytest.mark.filterwarnings("error::RuntimeWarning")  # NumPy prints what it warns of
@pytest.mark.parametrize("seed", range(6))
def test_any_lie_about_any_architecture(tmp_path, sound, seed):
    rng = random.Random(seed)
    used = refused = 0
    said: list[str] = []
    path = tmp_path / "m.gguf"
    for _ in range(60):
        architecture, parts = sound[rng.choice(list(sound))]
        parts = parts.copy()
        lies = [lie(parts, architecture, rng) for _ in range(rng.choice([1, 1, 1, 2, 3]))]
        path.unlink(missing_ok=True)
        path.write_bytes(bytes(parts))
        try:
            use(path)
            used += 1
        except (EdgelmError, MemoryError) as error:
            refused += 1
            said.append(str(error))
        except Exception as error:
            pytest.fail(f"{lies}: {error!r}")
    assert used > 3
    assert refused > 20
    assert all(text.isprintable() for text in said), said


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"llama.block_count": several(g.I32, [g.number(g.I32, n) for n in (3, 4)])},
            "block_count",
        ),
        ({"llama.rope.freq_base": scalar(g.F32, 1.0)}, r"freq_base' is 1\.0; expected over 1"),
        (
            {
                "llama.rope.scaling.type": text("linear"),
                "llama.rope.scaling.factor": scalar(g.F64, 1e-300),
            },
            "frequencies are not finite",
        ),
        ({"llama.rope.scaling.type": text("\x1b[2J")}, r"scaling '\\x1b\[2J' is not supported"),
        ({"general.architecture": text("a\nb")}, r"architecture is 'a\\nb'; expected a name"),
        (
            {
                "llama.expert_count": scalar(g.U32, 4096),
                "llama.expert_used_count": scalar(g.U32, 999),
            },
            "expert_used_count' is 999; expected 1 to 256",
        ),
    ],
)
def test_what_a_lie_broke_once(tmp_path, sound, changes, says):
    parts = sound["mixtral"][1].copy()
    parts.values |= changes
    path = tmp_path / "m.gguf"
    path.write_bytes(bytes(parts))
    with pytest.raises(EdgelmError, match=says):
        use(path)


U32_MAX = scalar(g.U32, 2**32 - 1)


@pytest.mark.parametrize(
    ("model", "key"),
    [
        ("mixtral", "llama.block_count"),
        ("mixtral", "llama.embedding_length"),
        ("mixtral", "llama.context_length"),
        ("mixtral", "llama.attention.head_count"),
        ("mixtral", "llama.attention.head_count_kv"),
        ("mixtral", "llama.attention.key_length"),
        ("mixtral", "llama.rope.dimension_count"),
        ("mixtral", "llama.expert_count"),
        ("mixtral", "llama.expert_used_count"),
        ("gemma2", "gemma2.attention.sliding_window"),
        ("gemma3", "gemma3.attention.sliding_window"),
        ("cohere2", "cohere2.attention.sliding_window"),
    ],
)
def test_absurd_counts_are_named(tmp_path, sound, model, key):
    parts = sound[model][1].copy()
    parts.values[key] = U32_MAX
    path = tmp_path / "m.gguf"
    path.write_bytes(bytes(parts))
    with pytest.raises(ModelFormatError, match=rf"'{key}' is 4294967295; expected \d+ to \d+"):
        use(path)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def overwrite(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


@pytest.mark.parametrize(
    ("change", "says"), [(cut, "shrank|ends|changed"), (overwrite, "changed"), (append, "changed")]
)
def test_a_file_that_changes_while_it_is_loaded(tmp_path, tiny, monkeypatch, change, says):
    """After its header was read, and before its weights are."""
    path = tmp_path / "m.gguf"
    path.write_bytes(tiny[0])
    tokenizer = edgelm.model.Tokenizer

    def changed_meanwhile(file):
        change(path)
        return tokenizer(file)

    monkeypatch.setattr(edgelm.model, "Tokenizer", changed_meanwhile)
    with pytest.raises(OSError, match=says):
        use(path)
