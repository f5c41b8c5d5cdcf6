"""Renders a checkpoint's chat template as transformers does, with bounds on the work and on the text.

A template is a program that somebody else wrote. It runs in Jinja's sandbox, and so that none can run for ever or fill
the memory, its work is counted: each round of a loop, each call of a macro, and each character that is written or put
together. A value is measured where it is used, and its size is work too. Filters and methods that can make much of
little are not there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rerank_core.errors import CheckpointError

if TYPE_CHECKING:
    from jinja2.sandbox import ImmutableSandboxedEnvironment

MOST_WORK = 200_000  # rounds, calls, and characters
_MOST_SIZE = 100_000  # characters of a template, and characters and items of a value
_MOST_NUMBER = 10**9
_MEASURED = 10  # characters or items that are measured in the time of one round

_FILTERS = {
    "abs", "capitalize", "count", "d", "default", "dictsort", "e", "escape", "first", "float", "int", "items", "last",
    "length", "list", "lower", "map", "max", "min", "reject", "rejectattr", "reverse", "round", "safe", "select",
    "selectattr", "sort", "string", "title", "trim", "unique", "upper",
}  # fmt: skip
_METHODS = {
    "append", "capitalize", "count", "endswith", "find", "get", "index", "isalnum", "isalpha", "isdigit", "isspace",
    "items", "keys", "lower", "lstrip", "removeprefix", "removesuffix", "rfind", "rsplit", "rstrip", "split",
    "splitlines", "startswith", "strip", "title", "upper", "values",
}  # fmt: skip
# Names that a template cannot have by accident: they call the methods of ``_RenderBudget``.
_COUNT, _MEASURE, _JOIN = "_count_work_", "_measure_value_", "_join_values_"


class ChatTemplate:
    """A compiled template, which is called ``name`` in errors. Not to be shared between threads.

    Raises ``CheckpointError`` where it cannot be compiled.
    """

    def __init__(self, source: str, name: str) -> None:
        from jinja2 import TemplateError

        self._name = name
        self._work = _RenderBudget(name)
        if len(source) > _MOST_SIZE:
            raise CheckpointError(f"{name} has {len(source):,} characters, and at most {_MOST_SIZE:,} are read")
        environment = _environment(self._work)
        try:
            tree = environment.parse(source)
            _instrument(tree)
            self._template = environment.from_string(tree)
        except (TemplateError, RecursionError, SyntaxError, ValueError) as error:
            raise CheckpointError(f"{name} is no template that can be used here: {str(error)[:300]}") from error

    def render(self, variables: Mapping[str, Any]) -> str:
        """Render it. Raises ``CheckpointError`` where it fails, or goes beyond the bounds."""
        self._work.start()
        special = {_COUNT: self._work.count, _MEASURE: self._work.measure, _JOIN: self._work.concatenate}
        try:
            return self._template.render({**variables, **special})
        except CheckpointError:
            raise
        except Exception as error:  # a program may fail in as many ways as there are
            raise CheckpointError(f"{self._name} fails ({type(error).__name__}: {str(error)[:300]})") from error


class _RenderBudget:
    """Counts the work of one rendering, and stops it where that is too much."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._left = 0

    def start(self) -> None:
        self._left = MOST_WORK

    def count(self, amount: int) -> None:
        self._left -= amount
        if self._left < 0:
            raise CheckpointError(
                f"{self._name} makes more than {MOST_WORK:,} rounds, calls and characters of one pair: it may never end"
            )

    def write(self, value: Any) -> Any:
        """Take what a template writes."""
        from jinja2 import Undefined

        if not isinstance(value, str | int | float | None | Undefined):
            raise CheckpointError(f"{self._name} writes a {type(value).__name__}, which is no text")
        self.count(len(str(value)))
        return value

    def measure(self, value: Any) -> Any:
        """Return a value that is not too large; one that is made item by item is counted so."""
        if isinstance(value, Iterator):
            return self._counted(value)
        self.count((_MOST_SIZE - self._measure(value, _MOST_SIZE)) // _MEASURED)
        return value

    def concatenate(self, *values: Any) -> str:
        return self.join(values)

    def join(self, values: Iterable[Any], separator: str = "") -> str:
        texts: list[str] = []
        for value in values:
            self.measure(value)
            texts.append(str(value))
            self.count(len(texts[-1]) + len(separator) + 1)
        return separator.join(texts)

    def replace(self, text: str, old: str, new: str) -> str:
        text, old, new = str(text), str(old), str(new)
        self.count(len(text) + (len(text) if not old else text.count(old)) * len(new))
        return text.replace(old, new)

    def to_json(
        self,
        value: Any,
        ensure_ascii: bool = False,
        indent: int | None = None,
        separators: tuple[str, str] | None = None,
        sort_keys: bool = False,
    ) -> str:
        """Write JSON as transformers' filter does; Jinja's own would escape it for HTML."""
        self.measure(value)
        if indent is not None and not 0 <= indent <= 8:
            raise CheckpointError(f"{self._name} writes JSON with an indent of {indent}")
        text = json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
        self.count(len(text))
        return text

    def contains(self, values: Any, value: Any) -> bool:
        return value in self.measure(values)

    def _counted(self, values: Iterator[Any]) -> Iterator[Any]:
        for value in values:
            self.count(1)
            yield value

    def _measure(self, value: Any, left: int) -> int:
        """Subtract a value's size from what is left; a member that is held twice counts twice."""
        left -= 1
        if isinstance(value, str | bytes | range):
            left -= len(value)
        elif isinstance(value, int) and abs(value) > _MOST_NUMBER:
            left = -1
        elif isinstance(value, Mapping):
            for key, member in value.items():
                left = self._measure(member, self._measure(key, left))
        elif isinstance(value, list | tuple | set):
            for member in value:
                left = self._measure(member, left)
        if left < 0:
            raise CheckpointError(
                f"{self._name} makes a value of more than {_MOST_SIZE:,} characters or items: it may grow without end"
            )
        return left


def _environment(work: _RenderBudget) -> ImmutableSandboxedEnvironment:
    from jinja2 import TemplateError, ext, nodes
    from jinja2.exceptions import SecurityError
    from jinja2.parser import Parser
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(ext.Extension):
        """The tag ``generation`` of transformers, which marks a part of the text and changes nothing."""

        tags = {"generation"}  # noqa: RUF012 (as Jinja declares it)

        def parse(self, parser: Parser) -> nodes.Node:
            line = next(parser.stream).lineno
            return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True)).set_lineno(line)

    class Environment(ImmutableSandboxedEnvironment):
        intercepted_binops = frozenset(["+", "*", "**", "%"])

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            are_numbers = isinstance(left, int | float) and isinstance(right, int | float)
            if operator == "**" or (operator != "+" and not are_numbers):
                raise SecurityError(f"the operator {operator} is not supported between these values")
            work.measure([left, right])
            return super().call_binop(context, operator, left, right)

        def call(self, context: Any, function: Any, *arguments: Any, **named: Any) -> Any:
            owner, name = getattr(function, "__self__", None), getattr(function, "__name__", "")
            if isinstance(owner, str | bytes | list | tuple | dict | set):
                if name not in _METHODS:
                    raise SecurityError(f"the method {name} is not supported")
                work.measure(owner)
            return super().call(context, function, *arguments, **named)

    def raise_exception(message: str) -> None:
        raise TemplateError(message)

    environment = Environment(
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=False,
        optimized=False,
        finalize=work.write,
        extensions=[Generation, ext.loopcontrols],
    )
    own = {"join": work.join, "replace": work.replace, "tojson": work.to_json}
    environment.filters = {name: environment.filters[name] for name in _FILTERS} | own
    environment.tests = environment.tests | {"in": lambda value, values: work.contains(values, value)}
    environment.globals = {name: environment.globals[name] for name in ("dict", "namespace", "range")} | {
        "raise_exception": raise_exception,
        "strftime_now": lambda layout: datetime.now().strftime(layout),
    }
    return environment


def _instrument(tree: Any) -> None:
    """Make a parsed template count its rounds and calls, and measure its values."""
    from jinja2 import nodes

    def call(name: str, arguments: list[Any], line: int) -> Any:
        function = nodes.Name(name, "load", lineno=line)
        return nodes.Call(function, arguments, [], None, None, lineno=line)

    def changed(node: Any) -> Any:
        for field, value in node.iter_fields():
            if isinstance(value, nodes.Node):
                setattr(node, field, changed(value))
            elif isinstance(value, list):
                setattr(node, field, [changed(each) if isinstance(each, nodes.Node) else each for each in value])
        line = node.lineno

        def measured(value: Any) -> Any:
            return call(_MEASURE, [value], line)

        if isinstance(node, nodes.For):
            node.iter = measured(node.iter)
            if node.test is not None:  # it is asked for rounds that are left out too
                node.test = nodes.Or(call(_COUNT, [nodes.Const(1, lineno=line)], line), node.test, lineno=line)
        match node:
            case nodes.Concat():
                return call(_JOIN, node.nodes, line)
            case nodes.Call():
                return measured(node)
            case nodes.Filter() if node.node is not None:
                node.node = measured(node.node)
                return measured(node)
            case nodes.Test():
                node.node = measured(node.node)
            case nodes.Compare():
                node.expr = measured(node.expr)
                for operand in node.ops:
                    operand.expr = measured(operand.expr)
            case nodes.Getitem() if isinstance(node.arg, nodes.Slice):
                node.node = measured(node.node)
            case nodes.Assign():
                node.node = measured(node.node)
            case nodes.With():
                node.values = [measured(value) for value in node.values]
            case nodes.For() | nodes.Macro() | nodes.CallBlock():
                written = sum(len(data.data) for data in node.find_all(nodes.TemplateData))
                counted = call(_COUNT, [nodes.Const(1 + written, lineno=line)], line)
                node.body = [nodes.ExprStmt(counted, lineno=line), *node.body]
        return node

    changed(tree)
