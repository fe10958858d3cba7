"""Text to token ids and back, by the vocabulary and the rules that a GGUF file carries."""

from __future__ import annotations

import codecs
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from . import _core
from .errors import ModelFormatError, UnsupportedModelError
from .pretokenizers import DEFAULT, LINES, PRETOKENIZERS, PreTokenizer


@dataclass(frozen=True)
class _Model:
    """What a value of tokenizer.ggml.model means, and what its files may leave unsaid."""

    native: str
    add_bos: bool = False
    add_eos: bool = False
    space_prefix: bool = False
    special: tuple[tuple[str, int], ...] = ()  # default ids


_MODELS = {
    "gpt2": _Model("bpe"),
    "gemma4": _Model("character-bpe", add_bos=True),
    "llama": _Model(
        "sentencepiece",
        add_bos=True,
        space_prefix=True,
        special=(("unknown", 0), ("bos", 1), ("eos", 2)),
    ),
    "t5": _Model("unigram", add_eos=True, special=(("eos", 1), ("unknown", 2))),
    "bert": _Model(
        "wordpiece",
        add_bos=True,
        add_eos=True,
        special=(("unknown", 100), ("bos", 101), ("seperator", 102)),
    ),
}

# Tokens that end a turn, a message or a text, by the names that models give them, and others that
# stop a completion of code. Source: llama.cpp's llama-vocab.cpp.
_END_OF_TURN = (
    *("<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>", "<|end_of_text|>"),
    *("<EOT>", "_<EOT>", "[EOT]", "<\uff5cend\u2581of\u2581sentence\uff5c>", "<end_of_utterance>"),
)
_END_OF_MESSAGE = ("<|eom_id|>",)
_END_OF_GENERATION = (
    *(*_END_OF_TURN, *_END_OF_MESSAGE, "<|return|>", "<|call|>", "<|flush|>", "<|calls|>", "</s>"),
    *("[EOS]", "<eos>", "<turn|>", "<|tool_response>", "[e~["),
)
_FIM = {
    "fim_pad": ("<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"),
    "fim_rep": ("<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"),
    "fim_sep": ("<|file_sep|>",),
}
# Channel marks of the harmony format, which belong to the text.
_ALWAYS_TEXT = ("<|channel|>", "<|message|>", "<|start|>", "<|constrain|>")


_TEMPLATE = "tokenizer.chat_template"
# transformers' names of special tokens, and GGUF's.
_SPECIAL_NAMES = {
    "unk": "unknown",
    "sep": "seperator",
    "pad": "padding",
    "cls": "cls",
    "mask": "mask",
}


def templates_of(file: _core.GgufFile) -> dict[str, str]:
    """A file's chat templates by name, but blank ones; that without a name is "default"."""
    keys = {
        key.removeprefix(_TEMPLATE).removeprefix("."): key
        for key in file.keys()  # noqa: SIM118  (no mapping)
        if key == _TEMPLATE or key.startswith(_TEMPLATE + ".")
    }
    found = {}
    for name in sorted(keys, reverse=True):  # "" comes last, and wins
        text = file.get(keys[name])
        if not isinstance(text, str):
            raise ModelFormatError(f"{file.path}: {keys[name]} is {text!r:.60}; expected a string")
        if text.strip():
            found[name or "default"] = text
    return found


class Tokenizer:
    """The tokenizer of one model file. Immutable; threads may share it.

    Raises ModelFormatError if the file's vocabulary is broken, UnsupportedModelError if its
    tokenizer model or pre-tokenizer is not known here.
    """

    vocab_size: int
    bos_id: int | None
    eos_id: int | None
    eot_id: int | None  # ends a turn of a chat
    eog: frozenset[int]  # ids after which generation ends, by llama.cpp's rules
    add_bos: bool
    add_eos: bool
    templates: dict[str, str]  # of chats, by name
    chat_template: str | None
    tool_template: str | None  # of its own for chats with tools, as Command R's files have

    def __init__(self, file: _core.GgufFile) -> None:
        self._file = file
        model = self._string("tokenizer.ggml.model")
        if model not in _MODELS:
            known = ", ".join(sorted(_MODELS))
            raise UnsupportedModelError(
                f"{file.path}: tokenizer.ggml.model is {model!r:.60}; the known ones are {known}"
            )
        self._model = rules = _MODELS[model]
        pre = self._pretokenizer()
        name = self._string("general.name", "").lower()
        self._strips = self._flag("add_space_prefix", rules.space_prefix)
        self._normalize = self._normalizer(pre)
        self._core = _core.Tokenizer(
            file,
            model=rules.native,
            patterns=pre.patterns,
            whole_words=pre.whole_words,
            space_prefix=self._strips,
            remove_extra_spaces=self._flag("remove_extra_whitespaces", False),
            # llama.cpp's rule for Phi-3, whose special tokens swallow the blanks after them.
            strip_after="phi-3" in name or "phi3" in name,
            keep_after=("<unk>", "<s>", "<|endoftext|>"),
            unknown=-1 if (unknown := self._special_id("unknown")) is None else unknown,
            # Gemma 4 uses </s> in HTML.
            control=[n for n in _END_OF_GENERATION if model != "gemma4" or n != "</s>"],
            user_defined=_ALWAYS_TEXT,
        )
        self.vocab_size = len(self._core)
        self.bos_id = self._special_id("bos")
        self.eos_id = self._special_id("eos")
        self.eot_id = self._special_id("eot", _END_OF_TURN)
        self.eog = self._end_of_generation()
        if model == "bert":  # what it begins and ends with is [CLS] and [SEP]
            self.bos_id = self._special_id("cls") if self.bos_id is None else self.bos_id
            self.eos_id = self._special_id("seperator") if self.eos_id is None else self.eos_id
            self._strips = True
        self.add_bos = self._adds("bos", self.bos_id, rules.add_bos or pre.add_bos)
        self.add_eos = self._adds("eos", self.eos_id, rules.add_eos)
        self.templates = templates_of(file)
        self.chat_template = self.templates.get("default")
        self.tool_template = self.templates.get("tool_use")

    def encode(
        self, text: str, *, add_special: bool = True, parse_special: bool = False
    ) -> list[int]:
        """The ids of `text`; O(n log n) in its longest word.

        `add_special` adds the BOS and EOS that the file asks for; `parse_special` lets names such
        as "<|im_start|>" in the text stand for their tokens. An unpaired surrogate is a ValueError.
        """
        try:
            ids = self._encode(text, parse_special)
        except UnicodeEncodeError as error:
            raise ValueError(
                f"text[{error.start}] is the unpaired surrogate U+{ord(text[error.start]):04X}, "
                "which no UTF-8 can hold; decode the text with errors='replace' or drop it"
            ) from None
        if add_special:
            if self.add_bos and self.bos_id is not None:
                ids.insert(0, self.bos_id)
            if self.add_eos and self.eos_id is not None:
                ids.append(self.eos_id)
        return ids

    def decode(self, ids: Sequence[int], *, special: bool = False) -> str:
        """The text of `ids`, with the names of control tokens if `special`.

        Bytes that are no UTF-8 become U+FFFD. The blank that SentencePiece puts before a text is
        taken off again. An id out of range is a ValueError.
        """
        text = self._core.decode(ids, special).decode("utf-8", "replace")
        return text[1:] if self._strips and text.startswith(" ") else text

    def token_bytes(self, id: int) -> bytes:
        """The bytes that one id stands for; a control token's are its name."""
        return self._core.token_bytes(id)

    def control_name(self, id: int) -> str:
        """The name of a token that has no text, as "<|im_start|>"; "" for one that has some."""
        if self._core.decode((id,), False):
            return ""
        return self._core.decode((id,), True).decode(errors="replace")

    @property
    def special_texts(self) -> dict[str, str]:
        """The texts of special tokens, as transformers calls those: bos_token, pad_token, ..."""
        ids = {"bos": self.bos_id, "eos": self.eos_id}
        for name, key in _SPECIAL_NAMES.items():
            ids[name] = self._file.get(f"tokenizer.ggml.{key}_token_id")
        return {
            f"{name}_token": self.token_bytes(id).decode(errors="replace")
            for name, id in ids.items()
            if isinstance(id, int) and 0 <= id < self.vocab_size
        }

    def decoder(self, special: bool = False, *, continues: bool = False) -> Decoder:
        """Decode id by id. `continues`: the ids follow other text, so a leading blank stays."""
        return Decoder(self._core, special, strips=self._strips and not continues)

    def _encode(self, text: str, parse_special: bool) -> list[int]:
        normalize = self._normalize
        if normalize is None:
            return self._core.encode(text, parse_special)
        # Special tokens are looked for before the text between them is normalized.
        ids: list[int] = []
        first = True
        for part in self._core.partition(text, parse_special):
            if isinstance(part, int):
                ids.append(part)
            else:
                ids += self._core.encode_fragment(normalize(part), first)
            first = isinstance(part, int)
        return ids

    def _normalizer(self, pre: PreTokenizer) -> Callable[[str], str] | None:
        if self._model.native == "wordpiece":
            lower = self._flag("normalizer.lowercase", True)
            strip = self._flag("normalizer.strip_accents", lower)
            return lambda text: _bert_text(text, lower, strip)
        return _composed if pre.nfc else None

    def _pretokenizer(self) -> PreTokenizer:
        if self._model.native == "character-bpe":
            return LINES
        name = self._string("tokenizer.ggml.pre", "")
        if self._model.native != "bpe":
            return PreTokenizer(())
        if not name:
            return DEFAULT
        if name not in PRETOKENIZERS:
            raise UnsupportedModelError(
                f"{self._file.path}: tokenizer.ggml.pre is {name!r:.60}; the known ones are "
                + ", ".join(sorted(PRETOKENIZERS))
            )
        return PRETOKENIZERS[name]

    def _end_of_generation(self) -> frozenset[int]:
        named = {name: id for name in _END_OF_GENERATION if (id := self._core.find(name)) >= 0}
        others = {self.eos_id, self.eot_id, self._special_id("eom", _END_OF_MESSAGE)}
        others |= {self._special_id(kind, names) for kind, names in _FIM.items()}
        ids = {*named.values(), *(id for id in others if id is not None)}
        # The harmony format's <|end|> ends a message, not the answer.
        if "<|end|>" in named and (
            {"<|return|>", "<|call|>"} <= named.keys()
            or ("<|flush|>" in named and ("<|call|>" in named or "<|calls|>" in named))
        ):
            ids.discard(named["<|end|>"])
        if {"<|tool_response>", "</s>"} <= named.keys():
            ids.discard(named["</s>"])
        return frozenset(ids)

    def _adds(self, kind: str, id: int | None, default: bool) -> bool:
        adds = self._flag(f"add_{kind}_token", default)
        if adds and id is None:
            raise ModelFormatError(
                f"{self._file.path}: the tokenizer adds a {kind.upper()} token to every text, but "
                f"tokenizer.ggml.{kind}_token_id is missing"
            )
        return adds

    def _special_id(self, kind: str, names: Sequence[str] = ()) -> int | None:
        key = f"tokenizer.ggml.{kind}_token_id"
        value = self._file.get(key)
        size = self._file.array_length("tokenizer.ggml.tokens")
        if value is None:
            default = dict(self._model.special).get(kind, size)
            if default < size:
                return default
            return next((id for name in names if (id := self._core.find(name)) >= 0), None)
        if not isinstance(value, int) or not 0 <= value < size:
            raise ModelFormatError(
                f"{self._file.path}: {key} is {value!r:.60}; expected 0 to {size - 1}, as many as "
                "tokenizer.ggml.tokens holds"
            )
        return value

    def _flag(self, key: str, default: bool) -> bool:
        value: Any = self._file.get(f"tokenizer.ggml.{key}")
        if value is None:
            return default
        if not isinstance(value, (bool, int)):
            raise ModelFormatError(
                f"{self._file.path}: tokenizer.ggml.{key} is {value!r:.60}; expected true or false"
            )
        return bool(value)

    def _string(self, key: str, default: str | None = None) -> str:
        value = self._file.get(key)
        if value is None and default is not None:
            return default
        if not isinstance(value, str):
            raise ModelFormatError(f"{self._file.path}: {key} is {value!r:.60}; expected a string")
        return value


def _composed(text: str) -> str:
    """Unicode's form NFC; quick where there is nothing to do."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def _bert_text(text: str, lower: bool, strip_accents: bool) -> str:
    if strip_accents and not text.isascii():
        decomposed = unicodedata.normalize("NFD", text)
        text = "".join(c for c in decomposed if unicodedata.category(c) != "Mn")
    # Each character by itself: str.lower() would tell a sigma that ends its word apart.
    return text.replace("\u03a3", "\u03c3").lower() if lower else text


class Decoder:
    """Text from ids that come one by one: whole characters only, U+FFFD for what is no UTF-8.

    All that push() and flush() return, joined, is what decode() returns for the same ids.
    """

    def __init__(self, core: _core.Tokenizer, special: bool, *, strips: bool) -> None:
        self._core = core
        self._special = special
        self._strips = strips
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, id: int) -> str:
        """The text that became whole with this id; often a word, sometimes empty."""
        return self._stripped(self._utf8.decode(self._core.decode((id,), self._special)))

    def flush(self) -> str:
        """What is left when no more ids come: an unfinished character is one U+FFFD."""
        return self._stripped(self._utf8.decode(b"", final=True))

    def _stripped(self, text: str) -> str:
        if not self._strips or not text:
            return text
        self._strips = False
        return text.removeprefix(" ")
