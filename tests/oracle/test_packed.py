"""The reference's reader of MessagePack against msgspec's writer and reader."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.oracle.packed import Fields, read_packed

VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text()
    | st.binary(),
    lambda each: st.lists(each, max_size=20) | st.dictionaries(st.text(), each, max_size=20),
    max_leaves=20,
)  # fmt: skip


def plain(value: Any) -> Any:
    """Maps as dictionaries."""
    if isinstance(value, Fields):
        return {name: plain(each) for name, each in value}
    return [plain(each) for each in value] if isinstance(value, list) else value


@given(VALUES)
def test_what_is_written_is_read(value: Any) -> None:
    # Of text: not a number is not itself.
    assert repr(plain(read_packed(msgspec.msgpack.encode(value)))) == repr(value)


@given(st.binary(max_size=40))
def test_what_msgspec_reads_is_read(value: bytes) -> None:
    try:
        msgspec.msgpack.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return
    read_packed(value)


@pytest.mark.parametrize("value", [b"", b"\xc1", b"\x91", b"\xa2a", b"\xa1\xff", b"\x01\x01"])
def test_what_is_no_value_is_refused(value: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - whatever it says
        read_packed(value)


def test_wide_headers_repetitions_and_extensions_are_read() -> None:
    assert read_packed(b"\xde\x00\x02\xa1a\x01\xa1a\x02") == [("a", 1), ("a", 2)]
    assert read_packed(b"\xdf\x00\x00\x00\x01\xd9\x01a\xdc\x00\x01\xd0\xff") == [("a", [-1])]
    assert read_packed(b"\xd6\xff\x00\x00\x00\x01") == b"\xff\x00\x00\x00\x01"
    assert read_packed(b"\xc7\x01\x05x") == b"\x05x"
