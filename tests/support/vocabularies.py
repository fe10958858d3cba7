"""Writes a vocabulary as a GGUF file for a tokenizer to open, through the gguf package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf


def write_vocabulary(path: Path, metadata: dict[str, Any], name: str = "test") -> Path:
    """`metadata` maps keys below tokenizer. to values; lists of strings, floats or integers."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(name)
    for below, value in metadata.items():
        key = f"tokenizer.{below}"
        if isinstance(value, list):
            writer.add_array(key, value)
        elif isinstance(value, bytes):
            writer.add_key_value(
                key, list(value), gguf.GGUFValueType.ARRAY, sub_type=gguf.GGUFValueType.UINT8
            )
        elif isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, int):
            writer.add_uint32(key, value)
        else:
            writer.add_string(key, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return path
