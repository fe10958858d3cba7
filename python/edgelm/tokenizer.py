"""Text to token ids and back, by the vocabulary and the rules that a GGUF file carries."""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from . import _core
from .errors import ModelFormatError, UnsupportedModelError
from .metadata import Metadata, chat_templates
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
    *("[EOS]", "<eos>", "<turn|>", "<|tool_response>", "[e~[", "<|ifm|im_end|>"),
)
_FIM = {
    "fim_pad": ("<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"),
    "fim_rep": ("<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"),
    "fim_sep": ("<|file_sep|>",),
}
_BLANKS_STAY_AFTER = ("<unk>", "<s>", "<|endoftext|>")
# Marks of turns, for files whose template does not stand in them.
_TURN_MARKERS = (
    *("<start_of_turn>", "<|im_start|>", "<|start_header_id|>", "<|end_header_id|>", "[INST]"),
    *("[/INST]", "<|system|>", "<|user|>", "<|assistant|>", "<|begin_of_text|>", "<|turn>"),
    *("<\uff5cUser\uff5c>", "<\uff5cAssistant\uff5c>", "<\uff5cbegin\u2581of\u2581sentence\uff5c>"),
    *("<|START_OF_TURN_TOKEN|>", "<|USER_TOKEN|>", "<|CHATBOT_TOKEN|>", "<|SYSTEM_TOKEN|>"),
    *("<|start_of_role|>", "<|end_of_role|>", "<|observation|>", "[gMASK]", "<sop>"),
)
# How a chat template writes the marks of turns, tools and thoughts: in one token each.
_MARKER = re.compile(r"<[^<>\s'\"{}]{1,62}>|\[/?[A-Z][A-Z0-9_]{1,62}\]")
# Channel marks of the harmony format, which belong to the text.
_ALWAYS_TEXT = ("<|channel|>", "<|message|>", "<|start|>", "<|constrain|>")


# transformers' names of special tokens, and GGUF's.
_SPECIAL_NAMES = {
    "unk": "unknown",
    "sep": "seperator",
    "pad": "padding",
    "cls": "cls",
    "mask": "mask",
}


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
    tool_template: str | None

    def __init__(self, file: _core.GgufFile) -> None:
        self._file = file
        self._values = values = Metadata(file)
        self._odd_ids: set[str] = set()
        model = values.string("tokenizer.ggml.model")
        if model not in _MODELS:
            known = ", ".join(sorted(_MODELS))
            raise UnsupportedModelError(
                f"{file.path}: tokenizer.ggml.model is {model!r:.60}; the known ones are {known}"
            )
        self._model = rules = _MODELS[model]
        pre = self._pretokenizer()
        name = values.string("general.name", "").lower()
        self._strips = self._flag("add_space_prefix", rules.space_prefix)
        self._normalize = self._normalizer(pre)
        self.templates = chat_templates(values)
        self.chat_template = self.templates.get("default")
        self.tool_template = self.templates.get("tool_use")  # as Command R's files have it
        self._size = file.array_length("tokenizer.ggml.tokens")
        self._check_arrays()
        with self._named_errors():
            self._core = _core.Tokenizer(
                file,
                model="character-bpe" if pre.over_characters else rules.native,
                patterns=pre.patterns,
                whole_words=pre.whole_words,
                space_prefix=self._strips,
                remove_extra_spaces=self._flag("remove_extra_whitespaces", False),
                # llama.cpp's rule for Phi-3, whose special tokens swallow the blanks after them.
                strip_after="phi-3" in name or "phi3" in name,
                keep_after=_BLANKS_STAY_AFTER,
                unknown=-1 if (unknown := self._special_id("unknown")) is None else unknown,
                control=self._control_names(model),
                user_defined=_ALWAYS_TEXT,
                markers=self._markers(),
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

    def encode(
        self, text: str, *, add_special: bool = True, parse_special: bool = False
    ) -> list[int]:
        """The ids of `text`; O(n log n) in its longest word.

        `add_special` adds the BOS and EOS that the file asks for; `parse_special` lets names such
        as "<|im_start|>" in the text stand for their tokens. An unpaired surrogate is a ValueError.
        """
        try:
            with self._named_errors():
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
        key = "tokenizer.ggml.pre"
        name = self._values.string(key, "")
        if self._model.native != "bpe":
            return PreTokenizer(())
        if not name:
            self._values.odd(
                f"{key} is missing, as in files from before May 2024; text is split by a default "
                "rule, which is that of few models. Fetch a newer file, or convert it again."
            )
            return DEFAULT
        if name not in PRETOKENIZERS:
            raise UnsupportedModelError(
                f"{self._file.path}: {key} is {name!r:.60}; the known ones are "
                + ", ".join(sorted(PRETOKENIZERS))
            )
        return PRETOKENIZERS[name]

    def _control_names(self, model: str) -> list[str]:
        """Names that are control tokens, whatever type the file gives them."""
        names = {*_END_OF_GENERATION, *(name for names in _FIM.values() for name in names)}
        return sorted(names - {"</s>"} if model == "gemma4" else names)  # which uses it in HTML

    def _markers(self) -> list[str]:
        """What chat templates write: each is one token, if the vocabulary has it at all."""
        templates = f"{self.chat_template or ''} {self.tool_template or ''}"
        return sorted({*_TURN_MARKERS, *_MARKER.findall(templates)})

    def _check_arrays(self) -> None:
        """Warn of what is left out of the vocabulary's arrays, or taken otherwise."""
        for key in ("scores", "token_type"):
            length = self._file.array_length(f"tokenizer.ggml.{key}")
            unused = key == "scores" and self._model.native not in ("sentencepiece", "unigram")
            if length > self._size > 0 or (0 <= length < self._size and (unused or length == 0)):
                effect = "; no score matters here" if unused else ""
                effect = effect or ("; the rest is left out" if length else "; none is known")
                self._values.odd(
                    f"tokenizer.ggml.{key} has {length:,} elements for {self._size:,} "
                    f"tokens{effect}."
                )
        types = self._values.get("tokenizer.ggml.token_type")
        if isinstance(types, np.ndarray) and np.any(odd := (types < 0) | (types > 6)):
            at = int(np.argmax(odd))
            self._values.odd(
                f"tokenizer.ggml.token_type[{at}] is {types[at]}, which is no known type; "
                "the token is taken as an ordinary one."
            )

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        """What the native tokenizer finds wrong names the file, too."""
        try:
            yield
        except ModelFormatError as error:
            name = Path(self._file.path).name
            text = str(error).removeprefix(f"{name}: ")
            raise ModelFormatError(f"{self._file.path}: {text}") from None

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
            self._values.odd(
                f"tokenizer.ggml.add_{kind}_token is true, but no token is named by "
                f"tokenizer.ggml.{kind}_token_id; none is added."
            )
            return False
        return adds

    def _special_id(self, kind: str, names: Sequence[str] = ()) -> int | None:
        key = f"tokenizer.ggml.{kind}_token_id"
        default = dict(self._model.special).get(kind)
        if default is None or default >= self._size:
            default = next((id for name in names if (id := self._core.find(name)) >= 0), None)
        if self._values.get(key) is None:
            return default
        id = self._values.integer(key, low=-(1 << 63), high=(1 << 64) - 1)
        if 0 <= id < self._size:
            return id
        self._odd_id(key, id, default)
        return default

    def _odd_id(self, key: str, id: int, default: int | None) -> None:
        if key not in self._odd_ids:  # some are asked for twice
            self._odd_ids.add(key)
            instead = "there is none" if default is None else f"it is taken to be {default}"
            self._values.odd(
                f"{key} is {id}, which no token of 0 to {self._size - 1} has; {instead}."
            )

    def _flag(self, key: str, default: bool) -> bool:
        return self._values.flag(f"tokenizer.ggml.{key}", default)


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
