"""The public surface: load() and Model."""

from __future__ import annotations

import functools
import os
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NoReturn, SupportsIndex, overload

from . import scoring
from .about import About
from .chat import ChatTemplates
from .engine import Engine, checked_ids
from .errors import ContextFullError
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
from .prompts import are_several, ids_of
from .scoring import Perplexity
from .session import Session, decode_batch
from .weights import EXACT

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from typing_extensions import Unpack

    from .prompts import Messages, Prompt, Prompts

    Floats = NDArray[np.float32]
    Tools = Sequence[Mapping[str, Any]]


_TEMPLATE_ARGUMENTS = ("tools", "variables", "continue_final_message", "chat_template")


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

    n_ctx: tokens of one sequence; None is the model's own context, at most 8192. With LongRoPE
        (Phi 3 and 4) it is the original context: a longer one rotates by other factors from the
        first token on, which changes short answers, too.
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

    generate, stream and chat take the same options; edgelm.Options says what they mean. What a call
    gives does not depend on what else runs, bit by bit.
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
        replies = self._replies(
            prompt, n, Options.of("generate", options, "n"), time.perf_counter()
        )
        wait(self._engine, finish(self._engine, replies))
        return _results(replies, prompt, n)

    @overload
    async def agenerate(  # type: ignore[overload-overlap]
        self, prompt: Prompt, *, n: Literal[1] = 1, **options: Unpack[OptionArguments]
    ) -> Generation: ...
    @overload
    async def agenerate(
        self, prompt: Prompt | Prompts, *, n: int = 1, **options: Unpack[OptionArguments]
    ) -> list[Generation]: ...
    @takes_options
    async def agenerate(
        self, prompt: Prompt | Prompts, *, n: int = 1, **options: Unpack[OptionArguments]
    ) -> Generation | list[Generation]:
        """As generate, in a task: the event loop goes on meanwhile, and other tasks may call, too.

        Cancelling the task ends the replies.
        """
        replies = self._replies(
            prompt, n, Options.of("agenerate", options, "n"), time.perf_counter()
        )
        await wait_async(self._engine, finish(self._engine, replies))
        return _results(replies, prompt, n)

    @takes_options
    def stream(self, prompt: Prompt, **options: Unpack[OptionArguments]) -> Stream:
        """As generate, but an iterator over the reply's text as it is computed; `async for`, too.

        `stream.generation` is the reply so far. A stream that waits for its reader holds one of the
        n_parallel sequences until it ends or is closed, and costs nothing else.
        """
        began = time.perf_counter()
        return self._stream(prompt, Options.of("stream", options), began)

    @takes_options
    def chat(
        self,
        messages: Messages,
        *,
        tools: Tools | None = None,
        variables: Mapping[str, Any] | None = None,
        continue_final_message: bool = False,
        chat_template: str | None = None,
        **options: Unpack[OptionArguments],
    ) -> Generation:
        """Answer [{"role": "user", "content": "..."}, ...] by the model's own template.

        tools, variables, continue_final_message, chat_template: as in apply_chat_template.

        Raises TemplateError, and as generate.
        """
        began = time.perf_counter()
        checked = Options.of("chat", options, *_TEMPLATE_ARGUMENTS)
        prompt = self.apply_chat_template(
            messages, tools=tools, variables=variables, chat_template=chat_template,
            continue_final_message=continue_final_message,
        )  # fmt: skip
        replies = self._replies(prompt, 1, checked, began)
        wait(self._engine, finish(self._engine, replies))
        return replies[0].generation()

    @takes_options
    def stream_chat(
        self,
        messages: Messages,
        *,
        tools: Tools | None = None,
        variables: Mapping[str, Any] | None = None,
        continue_final_message: bool = False,
        chat_template: str | None = None,
        **options: Unpack[OptionArguments],
    ) -> Stream:
        """As chat, but an iterator over the answer's text as it is computed; `async for`, too."""
        began = time.perf_counter()
        checked = Options.of("stream_chat", options, *_TEMPLATE_ARGUMENTS)
        prompt = self.apply_chat_template(
            messages, tools=tools, variables=variables, chat_template=chat_template,
            continue_final_message=continue_final_message,
        )  # fmt: skip
        return self._stream(prompt, checked, began)

    @suggests_names
    def apply_chat_template(
        self,
        messages: Messages,
        *,
        add_generation_prompt: bool = True,
        tools: Tools | None = None,
        variables: Mapping[str, Any] | None = None,
        continue_final_message: bool = False,
        chat_template: str | None = None,
    ) -> str:
        """The messages as the text that the model was trained on, ready for generate or stream.

        add_generation_prompt: end where the model's answer begins.
        tools: JSON schemas of functions that the model may call.
        variables: what else its template reads, as {"enable_thinking": False}.
        continue_final_message: end where the last message does, so that a reply continues it.
        chat_template: another Jinja template, or the name of one that the file has.

        Raises TemplateError if the model has no template, or if the template fails or leaves out a
        message's text.
        """
        self._engine.check_open()
        return self._chat_templates.render(
            messages,
            add_generation_prompt=boolean("add_generation_prompt", add_generation_prompt),
            tools=tools,
            variables=variables,
            continue_final_message=boolean("continue_final_message", continue_final_message),
            chat_template=chat_template,
        )

    def tokenize(
        self, text: str, *, add_special: bool = True, parse_special: bool = False
    ) -> list[int]:
        """Token ids of a text.

        add_special: with BOS or EOS, where the model wants them.
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
        """The text of token ids.

        special: with the names of special tokens.
        """
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
        tokenizer = self._network.tokenizer
        return scoring.score(self._engine, ids_of(tokenizer, "ids", ids, parse_special=False))

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

    def __reduce_ex__(self, _: SupportsIndex) -> NoReturn:
        raise TypeError(
            "A Model can't be copied, pickled or sent to another process. Threads share one as it "
            "is; in another process, load it there: edgelm.load(path)."
        )

    # --- within ----------------------------------------------------------------------------------

    @functools.cached_property
    def _chat_templates(self) -> ChatTemplates:
        return ChatTemplates(self._network.tokenizer)

    @property
    def _network(self) -> Network:
        self._engine.check_open()
        return self._engine.network

    def _stream(self, prompt: Prompt, options: Options, began: float) -> Stream:
        ids = ids_of(self._network.tokenizer, "prompt", prompt)
        text = prompt if isinstance(prompt, str) else None
        reply = Reply(self._engine, ids, options, began, streams=True, prompt_text=text)
        return Stream(self._engine, reply)

    def _replies(
        self, prompt: Prompt | Prompts, n: int, options: Options, began: float
    ) -> list[Reply]:
        """n replies to each prompt, with the seeds seed, seed + 1, ..."""
        n = integer("n", n, 1, 1 << 16)
        named: dict[str, Any] = {"prompt": prompt}
        if are_several(prompt):
            named = {f"prompt[{i}]": one for i, one in enumerate(prompt)}
        tokenizer = self._network.tokenizer
        texts = {name: ids_of(tokenizer, name, one) for name, one in named.items()}
        seed = secrets.randbits(63) if options.seed is None else options.seed
        replies: list[Reply] = []
        for name, ids in texts.items():
            given = named[name]
            make = functools.partial(
                Reply,
                self._engine,
                ids,
                options,
                began,
                # Without cache_prompt, one prompt's replies share their beginning all the same.
                key=SHARED if options.cache_prompt else object(),
                prompt_text=given if isinstance(given, str) else None,
            )
            for _ in range(n):
                try:
                    replies.append(make(seed=seed + len(replies)))
                except ContextFullError as error:
                    raise ContextFullError(f"{name}: {error}") from None
        return replies


def _results(replies: list[Reply], prompt: object, n: int) -> Generation | list[Generation]:
    results = [reply.generation() for reply in replies]
    return results if n > 1 or are_several(prompt) else results[0]
