"""Assembler of small stories for versions 3 and 5 of the Z-machine (The Z-Machine Standards Document 1.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_LETTERS = ("abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", " \n0123456789.,!?_#'\"/\\-:()")
_HEADER, _GLOBALS, _BUFFER = 64, 480, 80
TEXT, PARSE = "text buffer", "parse buffer"
"""Operands: the buffers of ``read``."""


def encode(text: str, words: int | None = None) -> bytes:
    """A text as a Z-string; cut or filled to ``words`` words as in a dictionary."""
    codes: list[int] = []
    for letter in text:
        if letter == " ":
            codes.append(0)
        elif letter in _LETTERS[0]:
            codes.append(6 + _LETTERS[0].index(letter))
        elif letter in _LETTERS[1]:
            codes += [4, 6 + _LETTERS[1].index(letter)]
        elif letter in _LETTERS[2][1:]:
            codes += [5, 6 + _LETTERS[2].index(letter)]
        else:
            codes += [5, 6, ord(letter) >> 5, ord(letter) & 31]
    size = 3 * words if words else len(codes) + -len(codes) % 3
    codes = (codes + [5] * size)[:size]
    packed = [codes[i] << 10 | codes[i + 1] << 5 | codes[i + 2] for i in range(0, size, 3)]
    packed[-1] |= 0x8000
    return b"".join(word.to_bytes(2, "big") for word in packed)


@dataclass(frozen=True)
class Var:
    """Operand: a variable, 0 for the stack, 16 and more for the globals."""

    number: int


@dataclass(frozen=True)
class Word:
    """Operand: the address of a word in the dictionary."""

    text: str


Operand = int | str | Var | Word


class Assembler:
    """A story of objects, words and instructions.

    Args:
        objects: Name and number of the parent of each object, from object 1.
        words: Words of the dictionary.
        version: Version of the Z-machine, 3 or 5.
    """

    def __init__(self, objects: Sequence[tuple[str, int]], words: Sequence[str], *, version: int = 3) -> None:
        self.version = version
        flags, link, defaults, key = (4, 1, 62, 2) if version == 3 else (6, 2, 126, 3)
        names = [encode(name) if name else b"" for name, _ in objects]
        tables = [bytes([len(name) // 2]) + name + b"\0" for name in names]
        first = _HEADER + defaults + (flags + 3 * link + 2) * len(objects)
        entries = bytearray()
        for number, (_, parent) in enumerate(objects, start=1):
            inside = [child for child, (_, above) in enumerate(objects, start=1) if above == number]
            after = [n for n, (_, above) in enumerate(objects, start=1) if above == parent and n > number]
            links = [parent, (after or [0])[0] if parent else 0, (inside or [0])[0]]
            table = first + sum(map(len, tables[: number - 1]))
            entries += bytes(flags) + b"".join(one.to_bytes(link, "big") for one in links)
            entries += table.to_bytes(2, "big")
        self.objects = bytes(defaults) + bytes(entries) + b"".join(tables)
        self.globals = _HEADER + len(self.objects)
        self.text = self.globals + _GLOBALS
        self.parse = self.text + _BUFFER
        self.static = self.parse + _BUFFER
        sorted_words, size = sorted(words, key=lambda word: encode(word, key)), 2 * key + 3
        self.words = {word: self.static + 4 + size * place for place, word in enumerate(sorted_words)}
        self.dictionary = bytes([0, size]) + len(words).to_bytes(2, "big")
        self.dictionary += b"".join(encode(word, key) + bytes(3) for word in sorted_words)
        self.start = self.static + len(self.dictionary)
        self.code = bytearray()
        self.labels: dict[str, int] = {}
        self.jumps: list[tuple[int, str, bool]] = []

    def label(self, name: str) -> None:
        """Name the place of the next instruction."""
        self.labels[name] = len(self.code)

    def print(self, text: str) -> None:
        """Print a text."""
        self.code += b"\xb2" + encode(text)

    def op(self, code: int, *operands: Operand, store: int | None = None, to: str = "") -> None:
        """An instruction with a byte of operand types, where it stores, and where it branches if true."""
        types, values = 0, bytearray()
        for place in range(4):
            kind = 3
            if place < len(operands):
                kind, value = self._operand(operands[place])
                values += value
            types |= kind << (6 - 2 * place)
        self.code += bytes([code, types]) + values
        if store is not None:
            self.code.append(store)
        if to:
            self.jumps.append((len(self.code), to, True))
            self.code += bytes(2)

    def op1(self, code: int, variable: int) -> None:
        """An instruction with one operand, a variable."""
        self.code += bytes([0xA0 | code, variable])

    def jump(self, to: str) -> None:
        """Go to a label."""
        self.code.append(0x8C)
        self.jumps.append((len(self.code), to, False))
        self.code += bytes(2)

    def story(self, *, flags: int = 0) -> bytes:
        """The story file.

        Args:
            flags: First byte of flags; 2 for a story that shows the time.
        """
        code = bytearray(self.code)
        for place, name, branch in self.jumps:
            offset = self.labels[name] - (place + 2) + 2
            code[place : place + 2] = (0x8000 | offset & 0x3FFF if branch else offset & 0xFFFF).to_bytes(
                2, "big"
            )
        buffers = bytearray(2 * _BUFFER)
        buffers[0], buffers[_BUFFER] = _BUFFER - 2, 8
        body = self.objects + bytes(_GLOBALS) + bytes(buffers) + self.dictionary + bytes(code)
        unit = 2 if self.version == 3 else 4
        body += bytes(-(_HEADER + len(body)) % unit)
        header = bytearray(_HEADER)
        header[0], header[1] = self.version, flags
        fields = {
            4: self.start,
            6: self.start,
            8: self.static,
            10: _HEADER,
            12: self.globals,
            14: self.static,
        }
        fields |= {26: (_HEADER + len(body)) // unit, 28: sum(body) & 0xFFFF}
        for place, value in fields.items():
            header[place : place + 2] = value.to_bytes(2, "big")
        header[18:24] = b"000001"
        return bytes(header) + body

    def _operand(self, operand: Operand) -> tuple[int, bytes]:
        if isinstance(operand, Var):
            return 2, bytes([operand.number])
        if isinstance(operand, Word):
            return 0, self.words[operand.text].to_bytes(2, "big")
        if isinstance(operand, str):
            return 0, {TEXT: self.text, PARSE: self.parse}[operand].to_bytes(2, "big")
        if 0 <= operand < 256:
            return 1, bytes([operand])
        return 0, (operand & 0xFFFF).to_bytes(2, "big")
