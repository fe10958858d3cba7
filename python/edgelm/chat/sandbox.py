"""The jinja2 environment of chat templates: what transformers offers them, within limits.

A template comes with a model file, so it is hostile until shown otherwise. jinja2's sandbox keeps
it from Python's internals; here it is kept from using up time and memory. Everything that can take
time (loop turns, calls, filters, operators) is charged to a Meter before it is done; everything
that can grow (text, containers, integers) is bounded by an estimate before it is built. What no
chat template needs and what is hard to bound is left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

import jinja2
import jinja2.ext
from jinja2 import TemplateSyntaxError as TemplateSyntaxError
from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.lexer import TokenStream
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from ..errors import TemplateError
from .meter import MAX_BITS, MAX_TEXT, Meter

MAX_SOURCE = 128 * 1024  # characters of a template; the longest in use have 30,000
MAX_ITEMS = 100_000  # of a sequence that a filter walks, as of jinja2's own range()
MAX_SLOW_TEXT = MAX_TEXT // 32  # of a text that a filter walks in Python
MAX_PADDING = 10_000  # columns

_FAST_TEXT_FILTERS = (
    *(
        "trim",
        "upper",
        "lower",
        "replace",
        "string",
        "tojson",
        "length",
        "count",
        "safe",
        "default",
    ),
    *("d", "first", "last", "capitalize", "int", "float", "escape", "e", "forceescape", "attr"),
)
_OTHER_FILTERS = (
    *("abs", "dictsort", "format", "groupby", "indent", "items", "join", "list", "map", "max"),
    *("min", "reject", "rejectattr", "reverse", "round", "select", "selectattr", "sort", "sum"),
    *("title", "truncate", "unique", "urlencode", "wordcount"),
)
_SLOW_FILTERS = {"groupby", "sort", "unique"}
_PADDING_METHODS = {"ljust", "rjust", "center", "zfill", "expandtabs", "to_bytes"}
_WIDE = re.compile(r"\d{5}")


class LimitedNamespace(Namespace):
    """jinja2's namespace, whose text does not show its contents: they may hold each other."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        self, *rest = args
        attributes = dict(*rest, **kwargs)
        for name in attributes:
            _check_attribute(name)
        Namespace.__init__(self, attributes)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_attribute(name)
        super().__setitem__(name, value)

    def __repr__(self) -> str:
        return "<Namespace>"


class _CodeGenerator(CodeGenerator):
    """Generates calls to the environment where jinja2 would build values inline."""

    environment: LimitedEnvironment

    def visit(self, node: nodes.Node, *args: Any, **kwargs: Any) -> Any:
        self.environment.tick()
        return super().visit(node, *args, **kwargs)

    def _wrapped(self, function: str, node: nodes.Node, frame: Frame, visit: Any) -> None:
        self.write(f"environment.{function}(")
        visit(node, frame)
        self.write(")")

    def visit_List(self, node: nodes.List, frame: Frame) -> None:  # noqa: N802
        self._wrapped("admit", node, frame, super().visit_List)

    def visit_Dict(self, node: nodes.Dict, frame: Frame) -> None:  # noqa: N802
        self._wrapped("admit", node, frame, super().visit_Dict)

    def visit_Tuple(self, node: nodes.Tuple, frame: Frame) -> None:  # noqa: N802
        if node.ctx == "load":
            self._wrapped("admit", node, frame, super().visit_Tuple)
        else:
            super().visit_Tuple(node, frame)

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:  # noqa: N802
        self._wrapped("join_text", nodes.Tuple(node.nodes, "store"), frame, super().visit_Tuple)


class _Generation(jinja2.ext.Extension):
    """{% generation %} marks what the assistant says; here it only groups."""

    tags = {"generation"}  # noqa: RUF012  (as jinja2 declares it)

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body).set_lineno(line)


class LimitedEnvironment(ImmutableSandboxedEnvironment):
    """One rendering at a time: set `meter` anew before each."""

    code_generator_class = _CodeGenerator
    intercepted_binops = frozenset(("+", "-", "*", "/", "//", "**", "%"))
    meter: Meter

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            finalize=self.admit,
            cache_size=0,
            extensions=[_Generation, jinja2.ext.loopcontrols],
        )
        self.meter = Meter()
        self.concat = self.join_chunks  # type: ignore[method-assign]
        wanted = {name: self.filters[name] for name in (*_FAST_TEXT_FILTERS, *_OTHER_FILTERS)}
        wanted["tojson"] = _to_json
        self.filters = {name: self._limited(name, f) for name, f in wanted.items()}
        range_ = self.globals["range"]
        joiner, cycler = self.globals["joiner"], self.globals["cycler"]
        self.globals = {
            "range": range_,
            "dict": dict,
            "joiner": joiner,
            "cycler": cycler,
            "namespace": LimitedNamespace,
            "raise_exception": _raise_exception,
            "strftime_now": _strftime_now,
        }

    def _tokenize(self, *args: Any, **kwargs: Any) -> TokenStream:
        """The template's tokens, each a step of compiling it."""
        stream = super()._tokenize(*args, **kwargs)
        counted = (token for token in stream if self.tick())
        return TokenStream(counted, stream.name, stream.filename)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        """The template's tree, with a step charged at every turn of every loop."""
        tree = super()._parse(source, name, filename)
        for loop in list(tree.find_all(nodes.For)):
            loop.body.insert(0, nodes.ExprStmt(_tick()))
            if loop.test is not None:
                loop.test = nodes.And(_tick(), loop.test)
        tree.set_environment(self)
        return tree

    def tick(self) -> bool:
        """Charge one step; true, so that a loop's condition can hold it."""
        self.meter.charge()
        return True

    def admit(self, value: Any) -> Any:
        """Let a literal's or an expression's value pass if it is not too heavy."""
        return self.meter.admit(value)

    def join_text(self, parts: tuple[Any, ...]) -> str:
        """The ~ operator."""
        self.meter.allow(sum(map(self.meter.weight, parts)), "text")
        return "".join(map(str, parts))

    def join_chunks(self, chunks: Iterable[str]) -> str:
        """The text of a macro's or a block's body, or the whole output."""
        kept = []
        total = 0
        for chunk in chunks:
            total += len(chunk)
            if total > MAX_TEXT:
                self.meter.allow(total, "output")
            kept.append(chunk)
        self.meter.allow(total, "output")
        return "".join(kept)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """An arithmetic operator."""
        if operator == "*":
            for sequence, times in ((left, right), (right, left)):
                if isinstance(sequence, (str, bytes, list, tuple)) and isinstance(times, int):
                    self.meter.allow(self.meter.weight(sequence) * max(times, 0), "text")
        elif operator == "%" and isinstance(left, (str, bytes)):
            self._allow_format(left, "%", right if isinstance(right, tuple) else (right,))
        elif operator == "**":
            bits = left.bit_length() if isinstance(left, int) else 1
            if isinstance(right, int) and max(bits, 1) * abs(right) > MAX_BITS:
                raise TemplateError(f"the chat template computed an integer over {MAX_BITS} bits")
        return self.admit(super().call_binop(context, operator, left, right))

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        """A call of a macro, a function or a method."""
        __self.meter.charge()
        owner, name = getattr(__obj, "__self__", None), getattr(__obj, "__name__", "")
        if isinstance(owner, (str, bytes, int)):
            if name == "join" and args:
                args = __self._sized(args[0]), *args[1:]
            __self._check_method(owner, name, (*args, *kwargs.values()))
        return __self.admit(super().call(__context, __obj, *args, **kwargs))

    def _check_method(self, owner: Any, name: str, args: tuple[Any, ...]) -> None:
        if name in _PADDING_METHODS:
            if any(isinstance(arg, int) and arg > MAX_PADDING for arg in args):
                raise TemplateError(
                    f"the chat template asked {name}() for over {MAX_PADDING} columns"
                )
            if name == "expandtabs":
                self.meter.allow(len(owner) * MAX_PADDING if "\t" in owner else 0, "text")
        elif name == "replace":
            self._allow_replace(owner, *args[:2])
        elif name == "join" and args:
            self._allow_join(owner, args[0])
        elif name == "translate":
            raise TemplateError("a chat template may not call translate()")

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """str.format() and format_map(), bounded before they run."""
        run = super().wrap_str_format(value)
        if run is None:
            return None

        def bounded(*args: Any, **kwargs: Any) -> str:
            self._allow_format(value.__self__, "{", (*args, *kwargs.values()))
            return run(*args, **kwargs)

        return bounded

    def _allow_format(self, template: str | bytes, mark: str, args: Iterable[Any]) -> None:
        text = template if isinstance(template, str) else template.decode("latin-1")
        args = tuple(args)
        dynamic = "*" in text if mark == "%" else re.search(r":[^{}]*\{", text)
        if dynamic and any(not isinstance(arg, str) and not _is_narrow(arg) for arg in args):
            raise TemplateError("the chat template formats with a width that cannot be judged")
        if _WIDE.search(text):
            raise TemplateError(f"the chat template asked for over {MAX_PADDING} columns")
        longest = max(map(self.meter.weight, args), default=0)
        fields = text.count(mark)
        padding = MAX_PADDING if dynamic or re.search(r"[%:][^%{}]*\d", text) else 0
        self.meter.allow(len(text) + fields * (longest + padding), "text")

    def _allow_replace(self, text: Any, old: Any = "", new: Any = "") -> None:
        if isinstance(text, (str, bytes)) and isinstance(old, type(text)):
            found = text.count(old)  # type: ignore[arg-type]
            growth = max(0, self.meter.weight(new) - 2 - len(old))
            self.meter.allow(len(text) + found * growth, "text")

    def _allow_join(self, separator: Any, items: Any) -> None:
        self.meter.allow(
            self.meter.weight(items) + len(items) * self.meter.weight(separator), "text"
        )

    def _sized(self, items: Any) -> Any:
        return items if hasattr(items, "__len__") else self.admit(list(items))

    def _size(self, value: Any) -> int:
        return len(value) if isinstance(value, (str, bytes, list, tuple)) else 0

    def _limited(self, name: str, run: Callable[..., Any]) -> Callable[..., Any]:
        """A filter that is charged for and bounded."""
        passes = getattr(run, "jinja_pass_arg", None)
        most = MAX_TEXT if name in _FAST_TEXT_FILTERS else MAX_SLOW_TEXT
        most_items = MAX_ITEMS // 10 if name in _SLOW_FILTERS else MAX_ITEMS

        def limited(*args: Any, **kwargs: Any) -> Any:
            value, *rest = args[1:] if passes is not None else args
            rest += kwargs.values()
            if name == "join":  # the only one that passes an evaluation context first
                value = self._sized(value)
                args = args[0], value, *args[2:]
            self.meter.charge()
            for argument in (value, *rest):
                if isinstance(argument, (str, bytes)):
                    self._bounded(len(argument), most, name)
                elif isinstance(argument, (list, tuple, Mapping, range)):
                    self._bounded(len(argument), most_items, name)
                    self.meter.weight(argument)
            self._check_filter(name, value, rest)
            return self.admit(run(*args, **kwargs))

        if passes is not None:
            limited.jinja_pass_arg = passes  # type: ignore[attr-defined]
        return limited

    def _bounded(self, n: int, most: int, name: str) -> None:
        if n > most:
            raise TemplateError(f"the chat template gave {name} {n:,} items; at most {most:,}")

    def _check_filter(self, name: str, value: Any, rest: list[Any]) -> None:
        if name == "replace":
            old, new = (*map(str, rest[:2]), "", "")[:2]
            self._allow_replace(str(value), old, new)
        elif name == "join":
            self._allow_join(rest[0] if rest else "", value)
        elif name == "format":
            self._allow_format(str(value), "%", rest)
        elif name == "indent":
            widths = [
                w if isinstance(w, int) else len(w) for w in rest if isinstance(w, (int, str))
            ]
            lines = str(value).count("\n") + 1
            self.meter.allow(len(str(value)) + lines * max(widths, default=4), "text")
        elif name in ("tojson", "round"):
            for argument in rest:
                large = argument if isinstance(argument, int) else self._size(argument)
                if large > 16:
                    raise TemplateError(f"the chat template gave {name} an argument over 16")
        elif name == "sum" and any(isinstance(start, (str, list, tuple)) for start in rest):
            raise TemplateError("a chat template may only sum numbers")


def _check_attribute(name: object) -> None:
    if not isinstance(name, str) or name.startswith("_"):
        raise TemplateError(f"a chat template may not name a namespace's attribute {name!r}")


def _is_narrow(width: object) -> bool:
    return isinstance(width, float) or (isinstance(width, int) and width <= MAX_PADDING)


def _tick() -> nodes.Call:
    return nodes.Call(nodes.EnvironmentAttribute("tick"), [], [], None, None)


def _to_json(
    x: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _raise_exception(message: object) -> None:
    raise TemplateError(f"the chat template refuses: {message}")


def _strftime_now(format: str) -> str:
    if len(format) > 1000:
        raise TemplateError("a chat template's date format has over 1,000 characters")
    return datetime.now().strftime(format)
