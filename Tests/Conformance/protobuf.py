"""As much of Protocol Buffers' encoding as the node protocol needs: varints and length-delimited fields.

A message is a dict from field number to a list of values; a value is an int (varint) or bytes (anything with a length).
"""


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def encode(*fields: tuple[int, int | str | bytes]) -> bytes:
    """(number, value) pairs in order; 0 and empty values are left out, as proto3 does."""
    out = bytearray()
    for number, value in fields:
        if isinstance(value, int):
            if value:
                out += varint(number << 3) + varint(value)
        else:
            data = value.encode() if isinstance(value, str) else value
            if data:
                out += message(number, data)
    return bytes(out)


def message(number: int, data: bytes) -> bytes:
    """A message field, which counts even where it is empty."""
    return varint(number << 3 | 2) + varint(len(data)) + data


def decode(data: bytes) -> dict[int, list[int | bytes]]:
    """All fields, known or not; who reads takes what they know."""
    fields: dict[int, list[int | bytes]] = {}
    position = 0

    def read() -> int:
        nonlocal position
        value = shift = 0
        while True:
            byte = data[position]
            position += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    while position < len(data):
        key = read()
        number, kind = key >> 3, key & 7
        if kind == 0:
            fields.setdefault(number, []).append(read())
            continue
        length = {1: 8, 5: 4}.get(kind) or read()
        fields.setdefault(number, []).append(data[position : position + length])
        position += length
    return fields


def text(fields: dict, number: int) -> str:
    return fields.get(number, [b""])[-1].decode()


def integer(fields: dict, number: int) -> int:
    return fields.get(number, [0])[-1]
