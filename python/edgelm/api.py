"""The public surface: load() and Model."""

from __future__ import annotations

import functools
import os
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np

from . import scoring
from .about import About
from .chat import ChatTemplate
from .engine import Engine, checked_ids
from .errors import ContextFullError, TemplateError
from .generate import SHARED, Generation, Reply, Stream, finish, wait, wait_async
from .hub import resolve
from .model import KV_TYPES, Network, open_network
from .options import (
    OptionArguments,
    Options,
    boolean,
    integer,
    real,
    suggests_names,
    takes_options,
)
from .scoring import Perplexity
from .session import Session, decode_batch
from .weights import EXACT

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import Unpack

    Floats = NDArray[np.float32]
    Prompt = str | Sequence[int]
    Prompts = Sequence[str] | Sequence[Sequence[int]]


@suggests_names
def load(
    source: str | os.PathLike[str],
    *,
    n_ctx: int | None = None,
    n_parallel: int = 4,
    n_threads: int | None = None,
    n_batch: int = 512,
    kv_type: str = "f16",
    activations: str = "auto",
    max_queue: int = 256,
    queue_timeout_s: float | None = None,
) -> Model:
    """Load a model: a known name (fetched once, verified) or the path of a .gguf file.

    n_ctx: tokens of one sequence; None is the model's own context, at most 8192.
    n_parallel: sequences of that length that sessions and replies share.
    n_threads: None is a thread for each fast core that this process may use (all cores, where those
        of at least half of the best one's speed are less than half of the machine), and no more
        than a cgroup's CPU quota feeds.
    n_batch: tokens of a prompt that are computed together.
    kv_type: of the KV cache, "f16" or "q8_0".
    activations: what weights of Q8_0, IQ4_NL and IQ4_XS are multiplied with: "int8", "int16", 100
        times as exact, or "auto". It matters on processors with dot products of bytes alone; on
        others int16 costs nothing.
    max_queue: calls that may wait for one of the n_parallel sequences; one more raises Busy.
    queue_timeout_s: how long one waits, in seconds, before it raises Busy; None is forever.

    Raises ModelFormatError or UnsupportedModelError for the file, DownloadError or another OSError
    if it can't be had, ValueError or TypeError for the arguments. Costs about one read of the file.
    """
    if n_ctx is not None:
        n_ctx = integer("n_ctx", n_ctx, 1, 1 << 24, hint=", or None for the model's own")
    if n_threads is not None:
        n_threads = integer("n_threads", n_threads, 1, 1024, ", or None for the usable cores")
    n_parallel = integer("n_parallel", n_parallel, 1, 1 << 16)
    n_batch = integer("n_batch", n_batch, 1)
    max_queue = integer("max_queue", max_queue, 0)
    if queue_timeout_s is not None:
        queue_timeout_s = real("queue_timeout_s", queue_timeout_s, 0, hint=", or None for no limit")
    if kv_type not in KV_TYPES:
        raise ValueError(f"kv_type is {kv_type!r}; expected one of {', '.join(KV_TYPES)}.")
    if activations not in EXACT:
        raise ValueError(f"activations is {activations!r}; expected one of {', '.join(EXACT)}.")
    if not isinstance(source, (str, os.PathLike)):
        raise TypeError(f"source is {source!r}; expected a known name or the path of a .gguf file.")
    path = resolve(source)
    return Model(
        open_network(
            path,
            n_ctx=n_ctx,
            n_parallel=n_parallel,
            n_threads=n_threads,
            n_batch=n_batch,
            kv_type=kv_type,
            activations=activations,
        ),
        max_queue=max_queue,
        queue_timeout_s=queue_timeout_s,
    )


class Model(About):
    """A loaded model. A context manager; calls from several threads are computed together.

    generate, stream and chat take the same options; see edgelm.options.Options for what they mean.
    What a call gives does not depend on what else runs, bit by bit.
    """

    def __init__(
        self, network: Network, *, max_queue: int = 256, queue_timeout_s: float | None = None
    ) -> None:
        """Use load()."""
        self._engine = Engine(network, max_queue=max_queue, queue_timeout_s=queue_timeout_s)

    # --- text ------------------------------------------------------------------------------------

    @overload
    def generate(  # type: ignore[overload-overlap]
        self, prompt: Prompt, *, n: Literal[1] = 1, **options: Unpack[OptionArguments]
    ) -> Generation: ...
    @overload
    def generate(
        self, prompt: Prompt | Prompts, *, n: int = 1, **options: Unpack[OptionArguments]
    ) -> list[Generation]: ...
    @takes_options
    def generate(
        self, prompt: Prompt | Prompts, *, n: int = 1, **options: Unpack[OptionArguments]
    ) -> Generation | list[Generation]:
        """Continue a prompt, text or token ids. Names of special tokens in a text are parsed.

        Several prompts in a list, or n replies to each, are computed together, n_parallel at once,
        and come as a list, in order: n of the first prompt, n of the second, and so on. Reply i of
        the list has the seed `seed + i`; prompts share what they begin with.

        Raises ContextFullError for a prompt longer than the context, CacheFullError if sessions
        and suspended streams hold every sequence, Busy if too many wait for one, LogitsError if the
        weights are broken, ValueError, TypeError.
        """
        replies = self._replies(prompt, n, Options.of("generate", options), time.perf_counter())
        wait(self._engine, finish(self._engine, replies))
        return _results(replies, prompt, n)

    @takes_options
    async def agenerate(
        self, prompt: Prompt | Prompts, *, n: int = 1, **options: Unpack[OptionArguments]
    ) -> Any:
        """As generate, in a task: the event loop goes on meanwhile, and other tasks may call, too.

        Cancelling the task ends the replies.
        """
        replies = self._replies(prompt, n, Options.of("agenerate", options), time.perf_counter())
        await wait_async(self._engine, finish(self._engine, replies))
        return _results(replies, prompt, n)

    @takes_options
    def stream(self, prompt: Prompt, **options: Unpack[OptionArguments]) -> Stream:
        """As generate, but an iterator over the reply's text as it is computed; `async for`, too.

        `stream.generation` is the reply so far. A stream that waits for its reader holds one of the
        n_parallel sequences until it ends or is closed, and costs nothing else.
        """
        began = time.perf_counter()
        ids, checked = self._ids("prompt", prompt), Options.of("stream", options)
        return Stream(self._engine, Reply(self._engine, ids, checked, began, streams=True))

    @takes_options
    def chat(
        self, messages: Sequence[Mapping[str, Any]], **options: Unpack[OptionArguments]
    ) -> Generation:
        """Answer [{"role": "user", "content": "..."}, ...] by the model's own template."""
        began = time.perf_counter()
        checked = Options.of("chat", options)
        replies = self._replies(self.apply_chat_template(messages), 1, checked, began)
        wait(self._engine, finish(self._engine, replies))
        return replies[0].generation()

    def apply_chat_template(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        add_generation_prompt: bool = True,
        tools: Sequence[Mapping[str, Any]] | None = None,
        variables: Mapping[str, Any] | None = None,
    ) -> str:
        """The messages as the text that the model was trained on, ready for generate or stream.

        tools: JSON schemas of functions that the model may call. variables: what else its template
        reads, as {"enable_thinking": False}. Raises TemplateError if the model has no template, or
        if the template fails.
        """
        self._engine.check_open()
        plain, with_tools = self._chat_templates
        template = with_tools if tools else plain
        if template is None:
            raise TemplateError(
                "The model has no chat template: it is not made for chats. Use generate()."
            )
        return template.render(
            messages,
            add_generation_prompt=boolean("add_generation_prompt", add_generation_prompt),
            tools=tools,
            **_checked_variables(variables),
        )

    def tokenize(
        self, text: str, *, add_special: bool = True, parse_special: bool = False
    ) -> list[int]:
        """Token ids of a text. add_special: with BOS or EOS, where the model wants them.

        parse_special: names of special tokens in the text become those tokens.
        """
        if not isinstance(text, str):
            raise TypeError(f"text is a {type(text).__name__}; expected a str.")
        return self._network.tokenizer.encode(
            text,
            add_special=boolean("add_special", add_special),
            parse_special=boolean("parse_special", parse_special),
        )

    def detokenize(self, ids: Sequence[int], *, special: bool = False) -> str:
        """The text of token ids; special: with the names of special tokens."""
        tokenizer = self._network.tokenizer
        if isinstance(ids, Sequence) and not ids:
            return ""
        checked = checked_ids(ids, tokenizer.vocab_size)
        return tokenizer.decode(checked, special=boolean("special", special))

    # --- the two phases --------------------------------------------------------------------------

    def session(self) -> Session:
        """An empty session: prefill and decode by hand. CacheFullError if all are in use."""
        self._engine.check_open()
        return Session(self._engine, self._engine.open())

    def decode_batch(self, sessions: Sequence[Session], ids: Sequence[int]) -> Floats:
        """Append ids[b] to sessions[b], computed together: logits (B, V). All grow, or none."""
        return decode_batch(self._engine, sessions, ids)

    # --- scores ----------------------------------------------------------------------------------

    def logits(self, ids: Sequence[int]) -> Floats:
        """The logits that follow each of T token ids, (T, V) float32: 4 * T * V bytes."""
        return scoring.logits(self._engine, checked_ids(ids, self._network.vocab_size))

    def score(self, ids: str | Sequence[int]) -> NDArray[np.float64]:
        """Log-probabilities in nats of T token ids, or a text's, but the first: (T-1,)."""
        return scoring.score(self._engine, self._ids("ids", ids, parse_special=False))

    def perplexity(
        self,
        text: str,
        n_ctx: int = 512,
        *,
        progress: Callable[[int, int], object] | None = None,
    ) -> Perplexity:
        """How well the model foretells a text, by llama.cpp's chunking; also as bits per byte.

        progress: called with the tokens done and all tokens, before each chunk and at the end.
        """
        if not isinstance(text, str):
            raise TypeError(f"text is a {type(text).__name__}; expected a str.")
        n_ctx = integer("n_ctx", n_ctx, 4, self._network.n_ctx)
        return scoring.perplexity(self._engine, text, n_ctx, progress)

    # --- closing ---------------------------------------------------------------------------------

    def close(self) -> None:
        """Free the model. What still runs ends with ClosedError; closing twice is fine."""
        self._engine.close()

    def __enter__(self) -> Model:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- within ----------------------------------------------------------------------------------

    @functools.cached_property
    def _chat_templates(self) -> tuple[ChatTemplate | None, ChatTemplate | None]:
        """The model's template, and the one for chats with tools: mostly the same."""
        tokenizer = self._network.tokenizer
        bos, eos = (
            "" if token is None else tokenizer.token_bytes(token).decode(errors="replace")
            for token in (tokenizer.bos_id, tokenizer.eos_id)
        )
        plain, with_tools = (
            None if source is None else ChatTemplate(source, bos_token=bos, eos_token=eos)
            for source in (tokenizer.chat_template, tokenizer.tool_template)
        )
        return plain, with_tools or plain

    @property
    def _network(self) -> Network:
        self._engine.check_open()
        return self._engine.network

    def _replies(
        self, prompt: Prompt | Prompts, n: int, options: Options, began: float
    ) -> list[Reply]:
        """n replies to each prompt, with the seeds seed, seed + 1, ..."""
        n = integer("n", n, 1, 1 << 16)
        named: dict[str, Any] = {"prompt": prompt}
        if _are_prompts(prompt):
            named = {f"prompt[{i}]": one for i, one in enumerate(prompt)}
        texts = {name: self._ids(name, one) for name, one in named.items()}
        seed = secrets.randbits(63) if options.seed is None else options.seed
        replies: list[Reply] = []
        for name, ids in texts.items():
            # Without cache_prompt, one prompt's replies share what they begin with all the same.
            key = SHARED if options.cache_prompt else object()
            for _ in range(n):
                own = seed + len(replies)
                try:
                    replies.append(Reply(self._engine, ids, options, began, key=key, seed=own))
                except ContextFullError as error:
                    raise ContextFullError(f"{name}: {error}") from None
        return replies

    def _ids(
        self, name: str, given: str | Sequence[int], *, parse_special: bool = True
    ) -> list[int]:
        """Token ids of a text, or checked ones."""
        network = self._network
        if not isinstance(given, str):
            if isinstance(given, (bytes, bytearray)):
                raise TypeError(f"{name} is {type(given).__name__}; decode it to a str first.")
            return checked_ids(given, network.vocab_size)
        tokenizer = network.tokenizer
        ids = tokenizer.encode(given, parse_special=parse_special)
        if tokenizer.add_bos and ids[:2] == [tokenizer.bos_id] * 2:
            del ids[0]  # a chat template wrote BOS too
        if not ids:
            raise ValueError(
                f"{name} is empty and the model has no BOS to begin with; give some text."
            )
        return ids


def _results(replies: list[Reply], prompt: object, n: int) -> Generation | list[Generation]:
    results = [reply.generation() for reply in replies]
    return results if n > 1 or _are_prompts(prompt) else results[0]


def _are_prompts(prompt: object) -> bool:
    """Whether it is a list of prompts: of texts, or of sequences of ids."""
    return (
        isinstance(prompt, (list, tuple))
        and len(prompt) > 0
        and isinstance(prompt[0], (str, bytes, list, tuple, range, np.ndarray))
    )


def _checked_variables(variables: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """What a template may be given beside the arguments of apply_chat_template."""
    if variables is None:
        return {}
    if not isinstance(variables, Mapping) or not all(isinstance(name, str) for name in variables):
        raise TypeError(
            f'variables is {variables!r:.60}; expected a dict such as {{"enable_thinking": False}}.'
        )
    if taken := {"self", "messages", "tools", "add_generation_prompt"} & variables.keys():
        raise ValueError(f"variables holds {min(taken)!r}, which is an argument of its own.")
    return variables
