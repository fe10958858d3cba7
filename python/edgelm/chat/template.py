"""Chat templates: from a list of messages to the text that a model was trained on."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import TemplateError
from .forms import Form, Messages, forms, judge, marked
from .messages import checked_messages, checked_tools, plain
from .meter import MAX_CPU_S, Meter, slowness

if TYPE_CHECKING:
    from jinja2 import Template

    from .sandbox import LimitedEnvironment

# Behind the message that is to be continued; a template that trims leaves it without its blank.
_CONDITION = re.compile(r"\{%[-+]?\s*(el)?if\b.*?%\}", re.DOTALL)
_GO = re.compile(r"\{\{-?\s*(if|range|end|else|template|block|\.\w|\$)")
_GO_HINT = ". It looks like a Go template, as Ollama has them: write it in Jinja"
_CONTINUED = "eDgelm cOntinues hEre "


# What transformers binds besides; "" where a file has none.
SPECIAL_TOKENS = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")


class ChatTemplate:
    """A model's Jinja template, rendered as the transformers library renders it.

    Where it expects content, or the arguments of a tool call, in another form than they have, it
    gets that form.

    The template is untrusted: it runs in a sandbox with limits on steps, time and text, and
    whatever goes wrong in it is a TemplateError. Threads may share one.
    """

    def __init__(self, source: str, **tokens: str) -> None:
        """`tokens`: the texts of special tokens, as bos_token="<s>"."""
        self.source = source
        # One that never names content, but in conditions, loses no text that it could have written.
        self._writes = "content" in _CONDITION.sub("", source) or "{" not in source
        self._tokens = {f"{name}_token": "" for name in SPECIAL_TOKENS} | tokens
        # Each render takes one and puts it back. No lock: a fork could leave that held for ever.
        self._compiled: list[tuple[LimitedEnvironment, Template]] = []

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        add_generation_prompt: bool = True,
        tools: Sequence[Mapping[str, Any]] | None = None,
        continue_final_message: bool = False,
        **variables: Any,
    ) -> str:
        """The prompt for `messages`, each with a "role" and mostly a "content".

        `tools` are JSON schemas of functions; `variables` reach the template by their names, as in
        enable_thinking=False. `continue_final_message` ends the prompt where the last message's
        text ends, so that a reply continues it. Raises ValueError or TypeError for malformed
        messages, naming the message and its key; TemplateError if the template fails, refuses,
        exceeds its limits, or leaves out a message's text.
        """
        context: dict[str, Any] = {
            **self._tokens,
            "documents": None,
            **{name: plain(value, name) for name, value in variables.items()},
            "tools": checked_tools(tools),
            "add_generation_prompt": bool(add_generation_prompt) and not continue_final_message,
        }
        given = checked_messages(messages)
        chosen = self._form(given, context).of(given)
        if not continue_final_message:
            return self._render({**context, "messages": chosen})
        text = self._render({**context, "messages": _continued(chosen)})
        before, mark, after = text.rpartition(_CONTINUED.strip())
        if not mark:
            raise TemplateError(
                "the chat template does not write the last message as it is, so that it cannot be "
                "continued"
            )
        return before if after.startswith(" ") else before.rstrip()

    def _form(self, messages: Messages, context: dict[str, Any]) -> Form:
        """The form in which the template loses least of the messages."""
        choices = forms(messages)
        if not self._writes and len(choices) == 1:
            return choices[0]
        self._compiled.append(self._take())  # once, if that fails or takes long
        best: Form | None = None
        fewest, lost = 0, tuple[int, ...]()
        has_none = any(message.get("content") is None for message in messages)
        end = time.thread_time() + MAX_CPU_S * slowness() / 2
        for form in choices:
            try:
                text = self._render({**context, "messages": marked(form.of(messages))})
            except TemplateError:  # that the chosen form will raise again, if all do
                if time.thread_time() > end:
                    raise
                continue
            verdict = judge(form.of(messages), text, has_none=has_none)
            if best is None or verdict.faults < fewest:
                best, fewest, lost = form, verdict.faults, verdict.lost
            if not fewest or time.thread_time() > end:
                break
        if best is not None and lost and self._writes:
            i = lost[0]
            raise TemplateError(
                f"the chat template leaves out the text of messages[{i}], whose role is "
                f"{messages[i]['role']!r:.40}. Say it in a message of another role, or use another "
                "template"
            )
        return best or Form()

    def _render(self, context: dict[str, Any]) -> str:
        try:
            environment, template = self._take()
            environment.meter = Meter()
            chunks = template.root_render_func(template.new_context(context))
            text = environment.join_chunks(chunks)
            self._compiled.append((environment, template))
            return text
        except TemplateError:
            raise
        # The template is a program of somebody else's: any exception is one of its failures.
        except Exception as error:
            raise _failed(error) from error

    def _take(self) -> tuple[LimitedEnvironment, Template]:
        from . import sandbox  # late: jinja2 takes 40 ms to import

        with contextlib.suppress(IndexError):
            return self._compiled.pop()
        if len(self.source) > sandbox.MAX_SOURCE:
            raise TemplateError(
                f"the chat template has {len(self.source):,} characters; at most "
                f"{sandbox.MAX_SOURCE:,} are taken"
            )
        environment = sandbox.LimitedEnvironment()
        try:
            return environment, environment.from_string(self.source)
        except TemplateError:
            raise
        except sandbox.TemplateSyntaxError as error:
            hint = _GO_HINT if _GO.search(self.source) else ""
            raise TemplateError(
                f"the chat template is no Jinja, line {error.lineno}: {error.message}{hint}"
            ) from error
        except Exception as error:  # it nests too deep for Python's compiler, say
            raise _failed(error) from error


def _failed(error: Exception) -> TemplateError:
    return TemplateError(f"the chat template failed: {type(error).__name__}: {error}")


def _continued(messages: Messages) -> Messages:
    """With a mark behind the last message's text."""
    content = messages[-1].get("content") if messages else None
    if isinstance(content, str):
        return [*messages[:-1], {**messages[-1], "content": content + _CONTINUED}]
    parts = content if isinstance(content, list) else []
    if not parts or not isinstance(parts[-1], dict) or not isinstance(parts[-1].get("text"), str):
        raise ValueError("the last message has no text that could be continued")
    last = {**parts[-1], "text": parts[-1]["text"] + _CONTINUED}
    return [*messages[:-1], {**messages[-1], "content": [*parts[:-1], last]}]
