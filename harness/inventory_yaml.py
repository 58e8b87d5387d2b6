"""YAML with positions: where every key and value of an inventory stands, and what is wrong with the YAML itself."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import yaml

Path = tuple[str | int, ...]
"""Way from the top of the document to a value: ("devices", 0, "match")."""

Value = dict[str, "Value"] | list["Value"] | str | int | float | bool | None

MAX_NODES = 100_000
"""Values an inventory may hold after aliases are expanded; more is a mistake or an attack."""

MAX_DEPTH = 50

_TAG = "tag:yaml.org,2002:"
_NUMBERS = {_TAG + "int", _TAG + "float", _TAG + "bool", _TAG + "null"}
_TEXTS = {_TAG + "str", _TAG + "timestamp"}
_MERGE = _TAG + "merge"


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: where it stands (line from 1, 0 for the whole file), at which key, and what was expected."""

    line: int
    path: Path
    text: str
    column: int = 0

    def render(self, file: str) -> str:
        """`file:line: key.path: text`; the column is shown where the YAML itself is wrong."""
        where = f"{file}:{self.line}" if self.line else file
        where += f":{self.column}" if self.column else ""
        key = dotted(self.path)
        return f"{where}: {key}: {self.text}" if key else f"{where}: {self.text}"


@dataclass(slots=True)
class Document:
    """A parsed file.

    Args:
        value: plain data; scalars that YAML reads as dates stay text.
        keys: line of each key. values: line of each value.
        raw: scalars as they are written, where that differs from text.
        problems: what is wrong with the YAML.
    """

    value: Value = None
    keys: dict[Path, int] = field(default_factory=dict)
    values: dict[Path, int] = field(default_factory=dict)
    raw: dict[Path, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def line(self, path: Path) -> int:
        """Line of the value at `path`, or of the nearest thing around it that exists."""
        while path:
            if path in self.values:
                return self.keys.get(path, self.values[path])
            path = path[:-1]
        return self.values.get((), 1)


def dotted(path: Path) -> str:
    """("devices", 0, "match") → "devices[0].match"; a name that is no plain word is quoted."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            plain = part.replace("-", "_").replace(".", "_").isidentifier()
            name = part if plain else quoted(part)
            text += f".{name}" if text else name
    return text


def quoted(text: str, limit: int = 60) -> str:
    """Text in double quotes for a message: shortened, control characters made visible."""
    short = text if len(text) <= limit else text[: limit - 1] + "…"
    return '"' + "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in short).replace("\n", "\\n") + '"'


def parse(text: str) -> Document:
    """Parse one YAML document.

    Aliases and merge keys are expanded; a document that grows past MAX_NODES or MAX_DEPTH is a problem, as is a key
    that stands twice in one mapping, a key that is not text, or a tag. When the YAML cannot be read at all there is
    exactly one problem, with line and column.
    """
    document = Document()
    loader = yaml.SafeLoader("")
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is not None:
            _Builder(loader, document).fill(node)
    except yaml.MarkedYAMLError as error:
        document.problems = [_syntax(error)]
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        document.problems = [Problem(line, (), f"character {error.character!r} is not allowed in YAML")]
    except RecursionError:
        document.problems = [Problem(0, (), "nested too deeply for an inventory")]
    except _TooMuch as error:
        document.problems = [Problem(0, (), str(error))]
    finally:
        loader.dispose()
    return document


class _TooMuch(Exception):
    """The document grows past what an inventory can be."""


def _syntax(error: yaml.MarkedYAMLError) -> Problem:
    mark = error.problem_mark or error.context_mark
    what = ", ".join(part for part in (error.context, error.problem) if part)
    if "'\\t'" in what:
        what += " (indent with spaces, not with tabs)"
    if mark is None:
        return Problem(0, (), f"not valid YAML: {what}")
    return Problem(mark.line + 1, (), f"not valid YAML: {what}", column=mark.column + 1)


class _Builder:
    """Turns nodes into plain data and notes where each stood."""

    def __init__(self, loader: yaml.SafeLoader, document: Document) -> None:
        self._loader = loader
        self._document = document
        self._count = 0

    def fill(self, node: yaml.Node) -> None:
        self._document.value = self._build(node, ())

    def _problem(self, node: yaml.Node, path: Path, text: str) -> None:
        found = Problem(node.start_mark.line + 1, path, text)
        if found not in self._document.problems:
            self._document.problems.append(found)

    def _build(self, node: yaml.Node, path: Path) -> Value:
        self._count += 1
        if self._count > MAX_NODES:
            raise _TooMuch(f"holds more than {MAX_NODES} values once its aliases are expanded")
        if len(path) > MAX_DEPTH:
            raise _TooMuch(f"nested more than {MAX_DEPTH} deep (an alias that contains itself?)")
        self._document.values[path] = node.start_mark.line + 1
        if isinstance(node, yaml.MappingNode):
            if node.tag != _TAG + "map":
                self._problem(node, path, f"the tag {quoted(node.tag)} is not supported")
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            if node.tag != _TAG + "seq":
                self._problem(node, path, f"the tag {quoted(node.tag)} is not supported")
            return [self._build(child, (*path, index)) for index, child in enumerate(node.value)]
        return self._scalar(node, path)

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Value]:
        result: dict[str, Value] = {}
        for source in self._merged(node, path):
            for key, value in self._mapping(source, path).items():
                result.setdefault(key, value)
        own: dict[str, int] = {}
        for key_node, value_node in node.value:
            if key_node.tag == _MERGE:
                continue
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag not in _TEXTS:
                shown = quoted(str(key_node.value)) if isinstance(key_node, yaml.ScalarNode) else "of several parts"
                self._problem(key_node, path, f"a key must be text, found the key {shown}: put it in quotes")
                continue
            key = str(key_node.value)
            line = key_node.start_mark.line + 1
            if key in own:
                self._problem(key_node, (*path, key), f"the key stands twice, first on line {own[key]}: remove one")
                continue
            own[key] = line
            self._document.keys[(*path, key)] = line
            result[key] = self._build(value_node, (*path, key))
        return result

    def _merged(self, node: yaml.MappingNode, path: Path) -> Iterator[yaml.MappingNode]:
        for key_node, value_node in node.value:
            if key_node.tag != _MERGE:
                continue
            sources = value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]
            for source in sources:
                self._count += 1
                if self._count > MAX_NODES:
                    raise _TooMuch(f"holds more than {MAX_NODES} values once its aliases are expanded")
                if isinstance(source, yaml.MappingNode):
                    yield source
                else:
                    self._problem(key_node, path, "<< takes an alias of a mapping")

    def _scalar(self, node: yaml.Node, path: Path) -> Value:
        text = str(node.value)
        if node.tag in _TEXTS:
            if any("\ud800" <= c <= "\udfff" for c in text):
                self._problem(node, path, "holds half of a character (a lone surrogate)")
                return ""
            return text
        self._document.raw[path] = text
        if node.tag not in _NUMBERS:
            self._problem(node, path, f"the tag {quoted(node.tag)} is not supported")
            return None
        try:
            value = self._loader.construct_object(node)
        except (ValueError, KeyError, OverflowError, yaml.YAMLError):
            self._problem(node, path, f"{quoted(text)} cannot be read as {node.tag.removeprefix(_TAG)}")
            return None
        if isinstance(value, float) and not math.isfinite(value):
            self._problem(node, path, f"{text} is no number that can be used here")
            return None
        if isinstance(value, bool | int | float):
            return value
        return None
