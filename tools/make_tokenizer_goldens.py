"""Write tests/golden/tokenizers.json: small vocabularies of every family, and others' ids of texts.

Each vocabulary is made of edgelm/bench/prose.txt and the strings of tests' tokenizer_texts.py. The
ids under "ids" come from the library that a model's own tokenizer is (PyPI `tokenizers`,
`sentencepiece`); those under "llama.cpp" are llama.cpp's (`xllamacpp`, through its C interface)
from the same GGUF file, where they differ.

    pip install tokenizers sentencepiece gguf xllamacpp
    python tools/make_tokenizer_goldens.py
"""

from __future__ import annotations

import base64
import io
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sentencepiece
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

TESTS = Path(__file__).parent.parent / "tests"
sys.path.insert(0, str(TESTS / "support"))
from llama_cpp_vocab import LlamaCppVocab  # noqa: E402
from tokenizer_texts import texts  # noqa: E402
from vocabularies import write_vocabulary  # noqa: E402

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
VOCAB_SIZE = 700
PROSE = (TESTS.parent / "python" / "edgelm" / "bench" / "prose.txt").read_text()
CORPUS = [*PROSE.splitlines(keepends=True), *(t for t in texts() * 2 if not {"<", "\u2581"} & {*t})]
RULES = "0041\t0061\nFB01\t0066 0069\n00BD\t0031 2F 0032\n3000\t0020\n0009\t0020\n"

Split = pre_tokenizers.Split
BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
GPT2 = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
DIGITS = pre_tokenizers.Digits(individual_digits=True)


def isolated(*patterns: str) -> list[Any]:
    return [Split(Regex(pattern), "isolated") for pattern in patterns]


# The pre_tokenizer (and normalizer) of the tokenizer.json of a model that has this name in GGUF.
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CASED = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
)
TAIL = r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
FAMILIES: dict[str, tuple[list[Any], bool]] = {
    "gpt-2": ([GPT2], False),
    "olmo": ([GPT2], True),
    "smollm": ([DIGITS, GPT2], False),
    "command-r": ([DIGITS, GPT2], True),
    "llama-bpe": ([*isolated(LLAMA3), BYTES], False),
    "dbrx": ([*isolated(LLAMA3), BYTES], False),
    "qwen2": ([*isolated(LLAMA3.replace("{1,3}", "")), BYTES], True),
    "falcon": (
        [
            pre_tokenizers.Punctuation("contiguous"),
            GPT2,
            pre_tokenizers.Digits(individual_digits=False),
            *isolated("[0-9][0-9][0-9]"),
        ],
        False,
    ),
    "deepseek-coder": (
        [
            *isolated(r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-\ud7ff]+"),
            DIGITS,
            BYTES,
        ],
        False,
    ),
    "deepseek-v3": (
        [
            *isolated(
                r"\p{N}{1,3}",
                "[一-龥\u3040-ゟ゠-ヿ]+",
                r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?"
                r"[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
            ),
            BYTES,
        ],
        False,
    ),
    "tekken": ([*isolated(rf"{CASED[0]}|{CASED[1]}|\p{{N}}" + TAIL), BYTES], False),
    "gpt-4o": (
        [
            *isolated(
                "|".join(cased + r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?" for cased in CASED)
                + r"|\p{N}{1,3}"
                + TAIL
            ),
            BYTES,
        ],
        False,
    ),
}


def bpe() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """One vocabulary for all: its merges cross words, so that splitting differently shows."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*isolated(r"[^,.]+[,.]?"), BYTES])
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [tuple(merge) for merge in model["merges"]]


def bpe_families() -> dict[str, Any]:
    """Byte-level BPE behind every pre-tokenizer of FAMILIES."""
    vocab, merges = bpe()
    tokens = sorted(vocab, key=lambda token: vocab[token])
    special = {"<|end|>": CONTROL, "<extra>": USER_DEFINED}
    found: dict[str, Any] = {}
    for name, (steps, nfc) in FAMILIES.items():
        tokenizer = Tokenizer(
            models.BPE(vocab=vocab, merges=merges, ignore_merges=name in ("tekken", "llama-bpe"))
        )
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
        if nfc:
            tokenizer.normalizer = normalizers.NFC()
        tokenizer.add_tokens(["<extra>"])
        metadata = {
            "ggml.model": "gpt2",
            "ggml.pre": name,
            "ggml.tokens": [*tokens, *special],
            "ggml.token_type": [NORMAL] * len(tokens) + list(special.values()),
            "ggml.merges": [" ".join(merge) for merge in merges],
            "ggml.add_bos_token": False,
        }
        extra = len(tokens) + 1  # the library numbers its added tokens from the vocabulary's end

        def encode(text: str, t: Tokenizer = tokenizer, extra: int = extra) -> list[int]:
            return [extra if id == extra - 1 else id for id in t.encode(text).ids]

        found[f"bpe {name}"] = family(metadata, encode)
    return found


def sentencepieces() -> dict[str, Any]:
    """SentencePiece models with and without a prefix, byte fallback, rules and extra blanks."""
    plain = {"normalization_rule_name": "identity", "remove_extra_whitespaces": False}
    lines = ["\n" * n for n in range(1, 8)] + ["\u2581" * n for n in range(2, 9)]
    kinds: dict[str, dict[str, Any]] = {
        "llama": {**plain, "byte_fallback": True},
        "gemma": {
            **plain,
            "byte_fallback": True,
            "add_dummy_prefix": False,
            "user_defined_symbols": [*lines, "<extra>"],
        },
        "tidy": {"normalization_rule_tsv": "rules"},
        "unigram": {"model_type": "unigram", "normalization_rule_tsv": "rules"},
    }
    found = {}
    for name, options in kinds.items():
        with tempfile.NamedTemporaryFile("w", suffix=".tsv") as rules:
            rules.write(RULES.replace(" 2F ", " 002F "))
            rules.flush()
            options = {k: rules.name if v == "rules" else v for k, v in options.items()}
            model = io.BytesIO()
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(CORPUS),
                model_writer=model,
                **{
                    "vocab_size": VOCAB_SIZE,
                    "model_type": "bpe",
                    "hard_vocab_limit": False,
                    **options,
                },
                minloglevel=2,
            )
        found[f"sentencepiece {name}"] = sentencepiece_family(name, model.getvalue())
    return found


def sentencepiece_family(name: str, serialized: bytes) -> dict[str, Any]:
    from sentencepiece import sentencepiece_model_pb2 as pb

    proto = pb.ModelProto.FromString(serialized)
    processor = sentencepiece.SentencePieceProcessor(model_proto=serialized)
    user_defined = {p.piece for p in proto.pieces if p.type == USER_DEFINED}
    metadata: dict[str, Any] = {
        "ggml.model": "t5" if name == "unigram" else "llama",
        "ggml.tokens": [
            # as llama.cpp's converter writes them
            p.piece.replace("\u2581", " ") if p.piece in user_defined else p.piece
            for p in proto.pieces
        ],
        "ggml.scores": [p.score for p in proto.pieces],
        "ggml.token_type": [p.type for p in proto.pieces],
        "ggml.unknown_token_id": 0,
        "ggml.bos_token_id": 1,
        "ggml.eos_token_id": 2,
        "ggml.add_bos_token": False,
        "ggml.add_eos_token": False,
        "ggml.add_space_prefix": proto.normalizer_spec.add_dummy_prefix,
        "ggml.remove_extra_whitespaces": proto.normalizer_spec.remove_extra_whitespaces,
    }
    if proto.normalizer_spec.precompiled_charsmap:
        metadata["ggml.precompiled_charsmap"] = proto.normalizer_spec.precompiled_charsmap
    return family(metadata, processor.encode)


def wordpieces() -> dict[str, Any]:
    """BERT's WordPiece, cased and uncased."""
    found = {}
    for name, lower in (("uncased", True), ("cased", False)):
        tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lower)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
        trainer = trainers.WordPieceTrainer(
            vocab_size=VOCAB_SIZE, special_tokens=special, show_progress=False
        )
        tokenizer.train_from_iterator(CORPUS, trainer)
        # Without its added tokens, which llama.cpp and we find in text only if asked to.
        vocab = tokenizer.get_vocab()
        bare = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]", max_input_chars_per_word=100))
        bare.normalizer, bare.pre_tokenizer = tokenizer.normalizer, tokenizer.pre_tokenizer
        tokens = sorted(vocab, key=lambda token: vocab[token])

        # as llama.cpp's converter writes them
        spelled = [
            token if token in special else ("\u2581" + token).removeprefix("\u2581##")
            for token in tokens
        ]
        metadata = {
            "ggml.model": "bert",
            "ggml.tokens": spelled,
            "ggml.token_type": [CONTROL if token in special else NORMAL for token in tokens],
            "ggml.bos_token_id": vocab["[CLS]"],
            "ggml.seperator_token_id": vocab["[SEP]"],
            "ggml.unknown_token_id": vocab["[UNK]"],
            "ggml.padding_token_id": vocab["[PAD]"],
            "ggml.normalizer.lowercase": lower,
        }
        found[f"wordpiece {name}"] = family(metadata, lambda text, t=bare: t.encode(text).ids)
    return found


def family(metadata: dict[str, Any], encode: Callable[[str], list[int]]) -> dict[str, Any]:
    """The vocabulary, its library's ids of all texts, and llama.cpp's where they differ."""
    ids = [encode(text) for text in texts()]
    others = {}
    bytes_known = metadata["ggml.model"] != "llama" or "<0x00>" in metadata["ggml.tokens"]
    if bytes_known:  # llama.cpp ends the process at a character that it can spell in no way
        with tempfile.TemporaryDirectory() as folder:
            theirs = LlamaCppVocab(write_vocabulary(Path(folder) / "vocabulary.gguf", metadata))
            for i, text in enumerate(texts()):
                other = theirs.encode(text)
                if other != ids[i]:
                    others[str(i)] = other
    stored = {
        key: {"base64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value
        for key, value in metadata.items()
    }
    return {"metadata": stored, "ids": ids, "llama.cpp": others}


def main() -> None:
    """Write the file."""
    goldens = {**bpe_families(), **sentencepieces(), **wordpieces()}
    for name, found in goldens.items():
        print(name, len(found["ids"]), "texts; llama.cpp differs in", len(found["llama.cpp"]))
    text = json.dumps(goldens, ensure_ascii=False, separators=(",", ":"))
    text = text.replace('},"', '},\n"').replace('],"', '],\n"')
    (TESTS / "golden" / "tokenizers.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
