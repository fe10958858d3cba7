"""Writes a GGUF file's weights in another type, by the gguf package, which rounds like llama.cpp.

    python tools/requantize.py SOURCE.gguf TARGET.gguf q8_0

Matrices are decoded and quantized again, whatever they were; vectors stay. The type is one that the
package can write: q4_0, q4_1, q5_0, q5_1, q8_0, f16, bf16. The target appears whole or not at all.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import gguf


def requantize(source: Path, target: Path, kind: str) -> None:
    reader = gguf.GGUFReader(source)
    partial = target.with_suffix(".partial")
    qtype = gguf.GGMLQuantizationType[kind.upper()]
    writer = gguf.GGUFWriter(partial, reader.fields["general.architecture"].contents())
    for name, field in reader.fields.items():
        # The first are of the header, and the writer makes all these itself.
        if name.startswith("GGUF.") or name in ("general.architecture", "general.file_type"):
            continue
        sub_type = field.types[-1] if len(field.types) > 1 else None
        writer.add_key_value(name, field.contents(), field.types[0], sub_type=sub_type)
    writer.add_file_type(gguf.LlamaFileType[f"MOSTLY_{kind.upper()}"])
    for tensor in reader.tensors:
        if len(tensor.shape) == 1:
            writer.add_tensor(tensor.name, tensor.data)
            continue
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        packed = gguf.quants.quantize(values, qtype)
        writer.add_tensor(tensor.name, packed, raw_dtype=qtype)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    partial.rename(target)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("kind")
    args = parser.parse_args()
    requantize(args.source, args.target, args.kind)


if __name__ == "__main__":
    main()
