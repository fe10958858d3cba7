"""llama.cpp's tokenizer, through the C interface of the library inside the xllamacpp package."""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path

from ggml_oracle import library_path

_LOG = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
_silent = _LOG(lambda *_: None)


class _Params(ctypes.Structure):
    """llama_model_params, with room to spare; only vocab_only is touched."""

    _fields_ = [("bytes", ctypes.c_ubyte * 128)]
    VOCAB_ONLY = 72


@cache
def _library() -> ctypes.CDLL:
    api = ctypes.CDLL(str(library_path()))
    api.llama_log_set(_silent, None)
    api.llama_backend_init()
    pointer, integer, flag = ctypes.c_void_p, ctypes.c_int32, ctypes.c_bool
    api.llama_model_default_params.restype = _Params
    api.llama_model_load_from_file.restype = pointer
    api.llama_model_load_from_file.argtypes = [ctypes.c_char_p, _Params]
    api.llama_model_free.argtypes = [pointer]
    api.llama_model_get_vocab.restype = pointer
    api.llama_model_get_vocab.argtypes = [pointer]
    api.llama_vocab_n_tokens.argtypes = [pointer]
    api.llama_vocab_is_eog.restype = flag
    api.llama_vocab_is_eog.argtypes = [pointer, integer]
    api.llama_tokenize.argtypes = [
        *(pointer, ctypes.c_char_p, integer, pointer, integer, flag, flag)
    ]
    api.llama_token_to_piece.argtypes = [
        *(pointer, integer, ctypes.c_char_p, integer, integer, flag)
    ]
    return api


class LlamaCppVocab:
    """The vocabulary of a GGUF file; its weights, if it has any, are not read."""

    def __init__(self, path: Path) -> None:
        self._api = api = _library()
        params = api.llama_model_default_params()
        params.bytes[params.VOCAB_ONLY] = 1
        self._model = api.llama_model_load_from_file(str(path).encode(), params)
        assert self._model, f"llama.cpp refuses {path}"
        self._vocab = api.llama_model_get_vocab(self._model)
        self.size = int(api.llama_vocab_n_tokens(self._vocab))

    def encode(
        self, text: str, *, add_special: bool = False, parse_special: bool = False
    ) -> list[int]:
        """llama_tokenize."""
        data = text.encode()
        room = 2 * len(data) + 16
        ids = (ctypes.c_int32 * room)()
        n = self._api.llama_tokenize(
            self._vocab, data, len(data), ids, room, add_special, parse_special
        )
        assert n >= 0
        return list(ids[:n])

    def piece(self, id: int) -> bytes:
        """The bytes of a token, or the name of a special one."""
        buffer = ctypes.create_string_buffer(1 << 12)
        n = self._api.llama_token_to_piece(self._vocab, id, buffer, len(buffer), 0, True)
        assert n >= 0
        return buffer.raw[:n]

    def end_of_generation(self) -> set[int]:
        """The ids that end a generation."""
        return {id for id in range(self.size) if self._api.llama_vocab_is_eog(self._vocab, id)}

    def close(self) -> None:
        """Free it."""
        self._api.llama_model_free(self._model)
