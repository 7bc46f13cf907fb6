"""The part of CEL that the rules of our schemas are written in, to check an object where there is no API server.

Compiles an expression to a function. What is beyond that part raises UnsupportedError when it is compiled, so that a rule is
either evaluated or said not to have been. Semantics: cel-spec, langdef.md; `&&` and `||` absorb an error of one side.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

Variables = Mapping[str, Any]
Evaluate = Callable[[Variables], Any]

_TOKEN: Final = re.compile(
    r"\s*(?:(?P<number>\d+(?:\.\d+)?)|(?P<text>'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")|(?P<name>[A-Za-z_]\w*)"
    r"|(?P<sign>&&|\|\||==|!=|<=|>=|[-<>+*!?:.,()\[\]]))"
)
_COMPARE: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
    "in": lambda entry, whole: entry in whole,
}  # fmt: skip
_CONSTANTS: Final = {"true": True, "false": False, "null": None}
_MACROS: Final = frozenset({"all", "exists", "map", "filter"})
_METHODS: Final[Mapping[str, Callable[..., Any]]] = {
    "size": len,
    "sum": sum,
    "matches": lambda text, pattern: matches(pattern, text),
    "startsWith": str.startswith,
    "endsWith": str.endswith,
    "contains": lambda text, part: part in text,
}
_FUNCTIONS: Final[Mapping[str, Callable[..., Any]]] = {
    "size": len,
    "bytes": lambda text: text.encode(),
    "string": str,
    "int": int,
}


class UnsupportedError(ValueError):
    """An expression uses what is not evaluated here, or is none."""


class EvaluationError(Exception):
    """An expression has no value, e.g. as a field that it reads is not there."""


@dataclass(frozen=True)
class Expression:
    """A compiled expression."""

    evaluate: Evaluate
    names: frozenset[str]
    """The names that it reads from outside; one with `oldSelf` is about a change."""


@lru_cache(maxsize=512)
def compile_expression(text: str) -> Expression:
    """Compile an expression; raises UnsupportedError."""
    parser = _Parser(text)
    return Expression(parser.parse(), frozenset(parser.names))


def matches(pattern: str, text: str) -> bool:
    """Whether RE2 would find the pattern in the text; Python's `$` alone would let a line break through."""
    whole = pattern.startswith("^") and pattern.endswith("$")
    return (re.fullmatch if whole else re.search)(pattern, text) is not None


@dataclass(frozen=True)
class _Select:
    """A field of what `target` gives."""

    target: Evaluate
    field: str

    def __call__(self, variables: Variables) -> Any:
        whole = self.target(variables)
        if not isinstance(whole, Mapping) or self.field not in whole:
            raise EvaluationError(f"no such key: {self.field}")
        return whole[self.field]

    def is_there(self, variables: Variables) -> bool:
        whole = self.target(variables)
        return isinstance(whole, Mapping) and self.field in whole


class _Parser:
    """Recursive descent over CEL's grammar, from the ternary down."""

    def __init__(self, text: str) -> None:
        self._tokens = [*_tokens(text), ("end", "")]
        self._at = 0
        self._bound: list[str] = []
        self.names: set[str] = set()

    def parse(self) -> Evaluate:
        whole = self._ternary()
        if self._tokens[self._at][0] != "end":
            raise UnsupportedError(f"unexpected {self._tokens[self._at][1]!r}")
        return whole

    def _takes(self, *signs: str) -> str | None:
        kind, text = self._tokens[self._at]
        if kind in ("sign", "name") and text in signs:
            self._at += 1
            return text
        return None

    def _expect(self, sign: str) -> None:
        if self._takes(sign) is None:
            raise UnsupportedError(f"expected {sign!r}, found {self._tokens[self._at][1]!r}")

    def _ternary(self) -> Evaluate:
        condition = self._or()
        if self._takes("?") is None:
            return condition
        then = self._ternary()
        self._expect(":")
        other = self._ternary()
        return lambda variables: (then if condition(variables) else other)(variables)

    def _or(self) -> Evaluate:
        left = self._and()
        while self._takes("||"):
            left = _logical(left, self._and(), decides=True)
        return left

    def _and(self) -> Evaluate:
        left = self._relation()
        while self._takes("&&"):
            left = _logical(left, self._relation(), decides=False)
        return left

    def _relation(self) -> Evaluate:
        left = self._sum()
        while (sign := self._takes(*_COMPARE)) is not None:
            left = _binary(_COMPARE[sign], left, self._sum())
        return left

    def _sum(self) -> Evaluate:
        left = self._product()
        while (sign := self._takes("+", "-")) is not None:
            left = _binary(operator.add if sign == "+" else operator.sub, left, self._product())
        return left

    def _product(self) -> Evaluate:
        left = self._unary()
        while self._takes("*"):
            left = _binary(operator.mul, left, self._unary())
        return left

    def _unary(self) -> Evaluate:
        if self._takes("!"):
            inner = self._unary()
            return lambda variables: not inner(variables)
        if self._takes("-"):
            inner = self._unary()
            return lambda variables: -inner(variables)
        return self._member(self._primary())

    def _member(self, whole: Evaluate) -> Evaluate:
        while True:
            if self._takes("["):
                whole = _binary(_index, whole, self._ternary())
                self._expect("]")
            elif self._takes("."):
                name = self._name()
                whole = self._call_on(whole, name) if self._takes("(") else _Select(whole, name)
            else:
                return whole

    def _name(self) -> str:
        kind, text = self._tokens[self._at]
        if kind != "name":
            raise UnsupportedError(f"expected a name, found {text!r}")
        self._at += 1
        return text

    def _call_on(self, whole: Evaluate, name: str) -> Evaluate:
        if name in _MACROS:
            return self._macro(whole, name)
        if name not in _METHODS:
            raise UnsupportedError(f"the function {name}")
        method, arguments = _METHODS[name], self._arguments()
        return _guarded(lambda variables: method(whole(variables), *(entry(variables) for entry in arguments)))

    def _macro(self, whole: Evaluate, name: str) -> Evaluate:
        variable = self._name()
        self._expect(",")
        self._bound.append(variable)
        body = self._ternary()
        self._bound.pop()
        self._expect(")")

        def each(variables: Variables) -> Iterator[tuple[Any, Any]]:
            return ((entry, body({**variables, variable: entry})) for entry in whole(variables))

        results: dict[str, Evaluate] = {
            "all": lambda variables: all(value for _, value in each(variables)),
            "exists": lambda variables: any(value for _, value in each(variables)),
            "map": lambda variables: [value for _, value in each(variables)],
            "filter": lambda variables: [entry for entry, value in each(variables) if value],
        }
        return results[name]

    def _arguments(self) -> list[Evaluate]:
        arguments: list[Evaluate] = []
        while not self._takes(")"):
            if arguments:
                self._expect(",")
            arguments.append(self._ternary())
        return arguments

    def _primary(self) -> Evaluate:
        if self._takes("("):
            inner = self._ternary()
            self._expect(")")
            return inner
        if self._takes("["):
            return self._list()
        kind, text = self._tokens[self._at]
        if kind not in ("number", "text", "name"):
            raise UnsupportedError(f"unexpected {text!r}")
        self._at += 1
        if kind == "name":
            return self._named(text)
        value = (float(text) if "." in text else int(text)) if kind == "number" else _unquoted(text)
        return lambda _variables: value

    def _list(self) -> Evaluate:
        entries: list[Evaluate] = []
        while not self._takes("]"):
            if entries:
                self._expect(",")
            entries.append(self._ternary())
        return lambda variables: [entry(variables) for entry in entries]

    def _named(self, name: str) -> Evaluate:
        if name in _CONSTANTS:
            constant = _CONSTANTS[name]
            return lambda _variables: constant
        if self._takes("("):
            return self._function(name)
        if name not in self._bound:
            self.names.add(name)
        return lambda variables: variables[name]

    def _function(self, name: str) -> Evaluate:
        arguments = self._arguments()
        if name == "has":
            if len(arguments) != 1 or not isinstance(arguments[0], _Select):
                raise UnsupportedError("has() of what is no field")
            return arguments[0].is_there
        if name not in _FUNCTIONS:
            raise UnsupportedError(f"the function {name}")
        function = _FUNCTIONS[name]
        return _guarded(lambda variables: function(*(entry(variables) for entry in arguments)))


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    at = 0
    while at < len(text.rstrip()):
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            raise UnsupportedError(f"unexpected {text[at : at + 10]!r}")
        yield match.lastgroup, match[match.lastgroup]
        at = match.end()


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1])


def _guarded(evaluate: Evaluate) -> Evaluate:
    def guarded(variables: Variables) -> Any:
        try:
            return evaluate(variables)
        except (TypeError, ValueError, AttributeError) as error:
            raise EvaluationError(str(error)) from error

    return guarded


def _binary(combine: Callable[[Any, Any], Any], left: Evaluate, right: Evaluate) -> Evaluate:
    return _guarded(lambda variables: combine(left(variables), right(variables)))


def _index(whole: Any, key: Any) -> Any:
    try:
        return whole[key]
    except (LookupError, TypeError) as error:
        raise EvaluationError(f"no such key: {key}") from error


def _logical(left: Evaluate, right: Evaluate, *, decides: bool) -> Evaluate:
    """Return `||` (a True decides) or `&&` (a False does): an error of one side counts only if the other does not decide."""

    def evaluate(variables: Variables) -> bool:
        try:
            first = bool(left(variables))
        except EvaluationError:
            if bool(right(variables)) is decides:
                return decides
            raise
        return decides if first is decides else bool(right(variables))

    return evaluate
