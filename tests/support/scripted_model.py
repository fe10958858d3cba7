"""A llama that says what it is told: its next token is a function of the last one."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from tiny_models import byte_symbols

NORMAL, CONTROL = gguf.TokenType.NORMAL, gguf.TokenType.CONTROL


def write(
    path: Path,
    follows: Mapping[str, str],
    *,
    words: Sequence[str] = (),
    control: Sequence[str] = (),
    end: str,
    metadata: Mapping[str, Any] | None = None,
) -> Path:
    """`follows`: token to token, both by name; after any other comes `end`, the EOS."""
    tokens = [*byte_symbols(), "Ġt", *words, *control]
    ids = {token: i for i, token in enumerate(tokens)}
    width = (len(tokens) + 63) // 64 * 64
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("scripted")
    writer.add_block_count(1)
    writer.add_context_length(512)
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(64)
    writer.add_head_count(width // 64)
    writer.add_head_count_kv(width // 64)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(64)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([NORMAL] * (len(tokens) - len(control)) + [CONTROL] * len(control))
    writer.add_token_merges(["Ġ t"])
    writer.add_eos_token_id(ids[end])
    writer.add_add_bos_token(False)
    for key, value in (metadata or {}).items():
        writer.add_key_value(key, value, gguf.GGUFValueType.get_type(value))
    one = np.ones(width, np.float32)
    embedding = np.eye(len(tokens), width, dtype=np.float32)
    output = np.zeros((len(tokens), width), np.float32)
    for token, i in ids.items():
        output[ids[follows.get(token, end)], i] = 20 / width**0.5
    square, wide = np.zeros((width, width), np.float32), np.zeros((64, width), np.float32)
    tensors = {"token_embd": embedding, "output_norm": one, "output": output}
    tensors |= {f"blk.0.{name}": one for name in ("attn_norm", "ffn_norm")}
    tensors |= {f"blk.0.attn_{name}": square for name in ("q", "k", "v", "output")}
    tensors |= {"blk.0.ffn_gate": wide, "blk.0.ffn_up": wide, "blk.0.ffn_down": wide.T.copy()}
    for name, values in tensors.items():
        writer.add_tensor(f"{name}.weight", values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def speech(*tokens: str) -> dict[str, str]:
    """What follows what when the tokens are said in this order, each once."""
    assert len(set(tokens)) == len(tokens)
    return dict(itertools.pairwise(tokens))
