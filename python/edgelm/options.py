"""The arguments of generate, stream and chat: defaults, checks, and help for wrong names."""

from __future__ import annotations

import difflib
import functools
import inspect
import math
import numbers
import operator
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    LogitsProcessor = Callable[[NDArray[np.int32], NDArray[np.float32]], ArrayLike]

# Of what is added to a logit, so that the sum is a float32. Any logit is far below it.
MAX_EDIT = 1e30

# What other engines call our arguments.
ALIASES = {
    "max_new_tokens": "max_tokens",
    "max_length": "max_tokens",
    "min_new_tokens": "min_tokens",
    "min_length": "min_tokens",
    "max_completion_tokens": "max_tokens",
    "n_predict": "max_tokens",
    "num_predict": "max_tokens",
    "temp": "temperature",
    "do_sample": "temperature (0 is greedy)",
    "typical": "typical_p",
    "typ_p": "typical_p",
    "repetition_penalty": "repeat_penalty",
    "penalty_repeat": "repeat_penalty",
    "repetition_context_size": "repeat_last_n",
    "penalty_last_n": "repeat_last_n",
    "penalty_present": "presence_penalty",
    "penalty_freq": "frequency_penalty",
    "bad_words_ids": "logit_bias (-inf bans a token)",
    "stop_token_id": "stop_token_ids",
    "eos_token_id": "stop_token_ids",
    "stop_strings": "stop",
    "stop_sequences": "stop",
    "random_seed": "seed",
    "top_logprobs": "logprobs",
    "n_probs": "logprobs",
    "ignore_eog": "ignore_eos",
    "logits_processor": "logits_processors",
    "use_cache": "cache_prompt",
    "return_full_text": "echo",
    "num_return_sequences": "n",
    "num_ctx": "n_ctx",
    "ctx_size": "n_ctx",
    "context_length": "n_ctx",
    "max_seq_len": "n_ctx",
    "max_model_len": "n_ctx",
    "num_threads": "n_threads",
    "num_thread": "n_threads",
    "threads": "n_threads",
    "batch_size": "n_batch",
    "num_batch": "n_batch",
    "n_seq_max": "n_parallel",
    "max_num_seqs": "n_parallel",
    "cache_type": "kv_type",
    "type_k": "kv_type",
    "type_v": "kv_type",
    "path": "source (the first argument)",
    "model_path": "source (the first argument)",
    "messages": "prompt (chat() takes messages)",
}

_CPU = "edgelm runs on the CPU alone: leave it out."
_FILE = "The file decides the types of the weights: choose another file."
_THINKING = 'Chat templates read such things from variables={"enable_thinking": False}.'
# Arguments that other engines, or other functions of ours, take: what to do here.
INSTEAD = {
    **dict.fromkeys(("n_gpu_layers", "gpu_layers", "main_gpu", "tensor_split", "device"), _CPU),
    **dict.fromkeys(("device_map", "offload_kqv", "gpu_memory_utilization"), _CPU),
    **dict.fromkeys(("dtype", "torch_dtype", "quantization", "load_in_4bit"), _FILE),
    **dict.fromkeys(("enable_thinking", "chat_template_kwargs", "thinking"), _THINKING),
    **dict.fromkeys(("use_mmap", "use_mlock"), "Weights are packed once, at load: leave it out."),
    "verbose": "edgelm prints nothing: leave it out.",
    "trust_remote_code": "A GGUF file holds no code: leave it out.",
    "chat_format": "chat() uses the template of the file; for another, give generate() its text.",
    "stream": "Call stream(prompt) or stream_chat(messages).",
    "logits_all": "logits(ids) and session.prefill(ids, all_logits=True) give all rows.",
    "prompt_logprobs": "score(ids) gives the log-probabilities of a text.",
    "stopping_criteria": "Read a stream(), and close it where the reply is to end.",
    "system": 'chat() takes it as the first message, {"role": "system", "content": "..."}.',
    **dict.fromkeys(("tools", "variables"), "chat() and apply_chat_template() take it."),
    **dict.fromkeys(
        ("n_ctx", "n_parallel", "n_threads", "n_batch", "kv_type", "activations", "max_queue"),
        "load() takes it.",
    ),
    "queue_timeout_s": "load() takes it.",
}


def integer(name: str, value: object, low: int, high: int | None = None, hint: str = "") -> int:
    """The value as an int within [low, high]; TypeError or ValueError naming the argument."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):  # NumPy's bool has none
        raise TypeError(f"{name} is {_shown(value)}; expected an integer{hint}.")
    number = operator.index(value)
    if number < low or (high is not None and number > high):
        limit = f"of at least {low:,}" if high is None else f"from {low:,} to {high:,}"
        raise ValueError(f"{name} is {_shown(number)}; expected an integer {limit}{hint}.")
    return number


def real(
    name: str, value: object, low: float = -math.inf, high: float = math.inf, hint: str = ""
) -> float:
    """The value as a float within [low, high]; TypeError or ValueError naming the argument."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):  # NumPy's bool is none
        raise TypeError(f"{name} is {_shown(value)}; expected a number{hint}.")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not (math.isfinite(number) and low <= number <= high):
        if math.isfinite(high):
            limit = f"from {low:g} to {high:g}"
        else:
            limit = f"of at least {low:g}" if math.isfinite(low) else "that is finite"
        raise ValueError(f"{name} is {_shown(value)}; expected a number {limit}{hint}.")
    return number


def boolean(name: str, value: object) -> bool:
    """The value as a bool; TypeError naming the argument."""
    numpy = sys.modules.get("numpy")  # who passes one of its bools has imported it
    if not isinstance(value, bool if numpy is None else (bool, numpy.bool_)):
        raise TypeError(f"{name} is {_shown(value)}; expected True or False.")
    return bool(value)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _seed(name: str, value: object) -> int | None:
    return None if value is None else integer(name, value, 0, hint=", or None for a fresh one")


def _max_tokens(name: str, value: object) -> int | None:
    if value is None:
        return None
    number = integer(name, value, -1, hint=" (-1 or None is no limit)")
    return None if number == -1 else number


def _count(name: str, value: object) -> int:
    return 0 if value is None else integer(name, value, 0)


def _stop(name: str, value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, str):
        value = (value,)
    if not isinstance(value, Iterable) or isinstance(value, (bytes, Mapping)):
        raise TypeError(f"{name} is {_shown(value)}; expected a string or a sequence of strings.")
    strings = tuple(value)
    for text in strings:
        if not isinstance(text, str):
            raise TypeError(f"{name} holds {_shown(text)}; expected strings.")
        if not text:
            raise ValueError(
                f"{name} holds an empty string, which would end every reply; leave it out."
            )
    return strings


def _token_ids(name: str, value: object) -> tuple[int, ...]:
    if value is None:
        return ()
    if isinstance(value, (str, bytes, Mapping)):
        raise TypeError(f"{name} is {_shown(value)}; expected a token id or a sequence of them.")
    tokens = value if isinstance(value, Iterable) else (value,)
    return tuple(integer(f"a token of {name}", token, 0) for token in tokens)


def _logit_bias(name: str, value: object) -> dict[int, float]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} is {_shown(value)}; expected a dict of token id to a number.")
    bias = {}
    for token, amount in value.items():
        key = integer(f"a token id of {name}", token, 0)
        if isinstance(amount, numbers.Real) and amount == -math.inf:  # NumPy's floats, too
            bias[key] = -math.inf
        else:
            what = f"{name}[{key}]"
            bias[key] = real(what, amount, -MAX_EDIT, MAX_EDIT, hint=", or -inf to ban")
    return bias


def _processors(name: str, value: object) -> tuple[LogitsProcessor, ...]:
    if value is None:
        return ()
    if callable(value) or not isinstance(value, Iterable):
        raise TypeError(
            f"{name} is {_shown(value)}; expected a sequence of functions (ids, logits)."
        )
    functions = tuple(value)
    for function in functions:
        if not callable(function):
            raise TypeError(f"{name} holds {_shown(function)}; expected functions (ids, logits).")
    return functions


def _option(default: object, check: Callable[..., object], *limits: Any, **hint: str) -> Any:
    """A field whose value goes through check(name, value, *limits)."""
    return field(
        default=default,
        metadata={"check": lambda name, value: check(name, value, *limits, **hint)},
    )


@dataclass(frozen=True, kw_only=True)
class Options:
    """How one reply is made. The samplers have llama.cpp's defaults and run in llama.cpp's order.

    max_tokens: tokens of the reply at most; 0 only computes the prompt, None or -1 is no limit but
        the context's.
    min_tokens: nothing ends the reply before it has that many.
    temperature: divides the logits; 0 is greedy, the highest logit whatever the chain says.
    top_k: keep the k likeliest; 0 keeps all.
    top_p: keep the likeliest that make up the probability p; 1 keeps all.
    min_p: keep those at least p times as likely as the likeliest; 0 keeps all.
    typical_p: keep those nearest to the expected surprise that make up p; 1 keeps all.
    repeat_penalty: divides the logits of tokens that occurred, multiplies negative ones; 1 is none.
    repeat_last_n: tokens that penalties look at, prompt included; 0 is none of them, -1 all.
    presence_penalty: taken from the logits of tokens that occurred, once.
    frequency_penalty: taken from the logits of tokens that occurred, as often as they did.
    logit_bias: token id to a number added to its logit; -inf bans it.
    stop: a string or several; the text ends before the first that turns up.
    stop_token_ids: tokens that end the reply, as the model's own do; none of its text.
    seed: of the draw; the same seed gives the same text. None draws a fresh one.
    logprobs: alternatives reported with each token's log-probability; 0 reports none.
    ignore_eos: never choose one of the model's tokens that end a reply.
    echo: the text begins with the prompt's.
    logits_processors: functions (ids, logits) -> logits, called after bias and penalties.
    cache_prompt: begin from what the cache holds of the prompt, and keep this text for the next.
    """

    max_tokens: int | None = _option(256, _max_tokens)
    min_tokens: int = _option(0, _count)
    temperature: float = _option(0.8, real, 0, hint=" (0 is greedy)")
    top_k: int = _option(40, integer, 0, (1 << 31) - 1, hint=" (0 keeps all tokens)")
    top_p: float = _option(0.95, real, 0, 1)
    min_p: float = _option(0.05, real, 0, 1)
    typical_p: float = _option(1.0, real, 0, 1)
    repeat_penalty: float = _option(1.0, real, 1 / MAX_EDIT, MAX_EDIT, hint=" (1 is none)")
    repeat_last_n: int = _option(64, integer, -1, (1 << 31) - 1, hint=" (-1 is the whole text)")
    presence_penalty: float = _option(0.0, real, -MAX_EDIT, MAX_EDIT)
    frequency_penalty: float = _option(0.0, real, -MAX_EDIT, MAX_EDIT)
    logit_bias: Mapping[int, float] | None = _option(None, _logit_bias)
    stop: str | Sequence[str] = _option((), _stop)
    stop_token_ids: Sequence[int] = _option((), _token_ids)
    seed: int | None = _option(None, _seed)
    logprobs: int = _option(0, _count)
    ignore_eos: bool = _option(False, boolean)
    echo: bool = _option(False, boolean)
    logits_processors: Sequence[LogitsProcessor] = _option((), _processors)
    cache_prompt: bool = _option(True, boolean)

    def __post_init__(self) -> None:
        """Check every value, and normalize what has several forms."""
        for f in fields(self):
            object.__setattr__(self, f.name, f.metadata["check"](f.name, getattr(self, f.name)))
        if self.max_tokens is not None and self.min_tokens > self.max_tokens:
            raise ValueError(
                f"min_tokens is {self.min_tokens:,} but max_tokens {self.max_tokens:,}; expected "
                "no more than that. Raise max_tokens."
            )

    def keys(self) -> list[str]:
        """The names, so that `generate(prompt, **options)` takes a whole one."""
        return [f.name for f in fields(self)]

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name)

    @classmethod
    def of(cls, caller: str, arguments: Mapping[str, Any], *others: str) -> Options:
        """Options from keyword arguments; TypeError for an unknown one suggests the right name.

        `others` are the caller's arguments besides.
        """
        known = [f.name for f in fields(cls)]
        for name in arguments:
            if name not in known:
                raise unknown_argument(caller, name, [*others, *known])
        return cls(**arguments)


class OptionArguments(TypedDict, total=False):
    """Options as keyword arguments, for type checkers; a test holds the two together."""

    max_tokens: int | None
    min_tokens: int
    temperature: float
    top_k: int
    top_p: float
    min_p: float
    typical_p: float
    repeat_penalty: float
    repeat_last_n: int
    presence_penalty: float
    frequency_penalty: float
    logit_bias: Mapping[int, float] | None
    stop: str | Sequence[str] | None
    stop_token_ids: int | Sequence[int] | None
    seed: int | None
    logprobs: int | None
    ignore_eos: bool
    echo: bool
    logits_processors: Sequence[LogitsProcessor] | None
    cache_prompt: bool


Function = TypeVar("Function", bound=Callable[..., Any])


def takes_options(function: Function) -> Function:
    """Show the options, with their defaults, in the signature of a function of **options."""
    signature = inspect.signature(function)
    parameters = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    parameters += [
        inspect.Parameter(
            f.name, inspect.Parameter.KEYWORD_ONLY, default=f.default, annotation=f.type
        )
        for f in fields(Options)
    ]
    function.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return function


def suggests_names(function: Function) -> Function:
    """Answer an unknown keyword argument with the name that was probably meant."""
    known = [
        p.name for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY
    ]

    @functools.wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        for name in kwargs:
            if name not in known:
                raise unknown_argument(function.__name__, name, known)
        return function(*args, **kwargs)

    return checked  # type: ignore[return-value]


def unknown_argument(caller: str, name: str, known: Sequence[str]) -> TypeError:
    """The error for an argument that `caller` does not have: what to give or do instead."""
    meant = ALIASES.get(name, name)
    word = meant.split(" ")[0]
    if word in (*known, "prompt", "source"):
        advice = f"Did you mean {meant}?"
    elif word in INSTEAD:
        advice = INSTEAD[word]
    elif word in Options.__dataclass_fields__:
        advice = f"generate(), stream() and chat() take {word}."
    elif close := difflib.get_close_matches(name, known, n=1):
        advice = f"Did you mean {close[0]}?"
    else:
        advice = f"It takes {', '.join(known)}."
    return TypeError(f"{caller}() has no argument '{name}'. {advice}")


def described(documented: object) -> dict[str, str]:
    """What the docstring of Options or load says of each argument: `name: text`, a line or more.

    Empty under `python -OO`, which drops docstrings.
    """
    lines = re.findall(r"^(\w+): (.+(?:\n +.+)*)", inspect.getdoc(documented) or "", re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in lines}
