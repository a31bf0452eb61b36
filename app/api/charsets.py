"""The charsets that a text may be pushed in.

Other codecs of Python are refused: some take seconds for a body of the largest size, and each name that is looked up
stays in Python's cache.
"""

from collections.abc import Mapping

CHARSETS: Mapping[str, tuple[str, ...]] = {
    "UTF-8": ("utf8",),
    "UTF-16": ("utf16",),
    "UTF-16LE": (),
    "UTF-16BE": (),
    "US-ASCII": ("ascii", "ansi_x3.4-1968"),
    "ISO-8859-1": ("iso8859-1", "iso_8859-1", "latin1", "latin-1", "l1"),
    "windows-1252": ("cp1252", "x-cp1252"),
    "GBK": ("gb2312", "cp936", "ms936", "windows-936", "x-gbk"),
    "GB18030": (),
    "Big5": ("big-5", "cn-big5", "csbig5", "x-x-big5"),
    "Shift_JIS": ("shift-jis", "sjis", "x-sjis", "ms_kanji", "csshiftjis"),
    "EUC-JP": ("eucjp", "x-euc-jp"),
    "EUC-KR": ("euckr", "ks_c_5601-1987", "ksc5601"),
}
"""Preferred names, each with its other names."""

_BY_NAME = {name.lower(): charset for charset, others in CHARSETS.items() for name in (charset, *others)}


def find_charset(name: str) -> str | None:
    """Return the preferred name, which is also a codec of Python, or None for an unsupported charset."""
    return _BY_NAME.get(name.lower())
