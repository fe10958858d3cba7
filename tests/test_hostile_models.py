"""Models whose header lies about what they hold: one clear exception, or a model that runs."""

from __future__ import annotations

import random
from pathlib import Path

import gguf
import pytest

import edgelm
from edgelm.errors import EdgelmError, ModelFormatError
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
