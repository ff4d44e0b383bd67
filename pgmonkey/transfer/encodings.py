"""Which encodings of a file the server reads itself, and what it calls them."""

from __future__ import annotations

import codecs

from pgmonkey.transfer.dialect import Dialect

# What the server decodes itself, by Python's name: encodings in which every byte of ASCII
# means itself (https://www.postgresql.org/docs/current/multibyte.html). The others, where
# the second byte of a character may look like a delimiter (SJIS, BIG5, GBK, GB18030), and
# those which it does not know (UTF-16, cp437, mac-roman) become UTF-8 here.
SERVER_ENCODINGS = {
    "utf-8": "UTF8",
    "iso8859-1": "LATIN1",
    "iso8859-2": "LATIN2",
    "iso8859-3": "LATIN3",
    "iso8859-4": "LATIN4",
    "iso8859-5": "ISO_8859_5",
    "iso8859-6": "ISO_8859_6",
    "iso8859-7": "ISO_8859_7",
    "iso8859-8": "ISO_8859_8",
    "iso8859-9": "LATIN5",
    "iso8859-10": "LATIN6",
    "iso8859-13": "LATIN7",
    "iso8859-14": "LATIN8",
    "iso8859-15": "LATIN9",
    "iso8859-16": "LATIN10",
    "cp866": "WIN866",
    "cp874": "WIN874",
    **{f"cp{number}": f"WIN{number}" for number in range(1250, 1259)},
    "koi8-r": "KOI8R",
    "koi8-u": "KOI8U",
    "euc_jp": "EUC_JP",
    "euc_kr": "EUC_KR",
    "gb2312": "EUC_CN",
}


def server_encoding(dialect: Dialect) -> str:
    """Return the server's name for the encoding of every ``Block.data`` of a file."""
    return SERVER_ENCODINGS.get(codecs.lookup(dialect.encoding).name, "UTF8")


def transcodes(dialect: Dialect) -> bool:
    """Return whether a file of *dialect* is read here, and sent as UTF-8."""
    return codecs.lookup(dialect.encoding).name not in SERVER_ENCODINGS
