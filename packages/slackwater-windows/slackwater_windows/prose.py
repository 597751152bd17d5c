"""What people type, as plain lines of text, whatever a calendar made of it."""

from __future__ import annotations

import html
import re
import unicodedata
from typing import Final

# A description is HTML when it has one of the tags or entities that calendars write; a lone "<" is not.
_HTML: Final = re.compile(
    r"</?(?:a|b|blockquote|body|br|code|div|em|font|h[1-6]|head|hr|html|i|li|meta|ol|p|pre|span"
    r"|strong|style|table|tbody|td|tr|u|ul)(?:\s[^<>]*)?/?>|&(?:nbsp|amp|lt|gt|quot|apos|#\d{1,7});",
    re.IGNORECASE,
)
_TAG: Final = re.compile(r"<(/?)([A-Za-z][A-Za-z0-9]*)(?:[\s/][^<>]*)?>")
_BREAKS: Final = frozenset(
    {"blockquote", "br", "div", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p", "pre"}
    | {"table", "tr", "ul"}
)
# str.lower() may change the length ("İ"), and places must stay the same.
_LOWER: Final = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}
_SILENT: Final = frozenset({"head", "script", "style", "title"})
# Line separators of other systems and spaces that do not look different.
_SAME: Final = {
    **dict.fromkeys(map(ord, "\u2028\u2029\x0b\x0c\x85"), "\n"),
    **dict.fromkeys(map(ord, "\xa0\u2002\u2003\u2009\u202f\t"), " "),
    **dict.fromkeys(map(ord, "\u200b\u2060\ufeff\xad"), None),
}


def plain(text: str) -> str:
    """Text without HTML, control characters and invisible ones; lines end in a newline.

    >>> plain("<p>lr=0.1</p><p>note=&lt;3</p>").split()
    ['lr=0.1', 'note=<3']
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if _HTML.search(text):
        text = _text_of(text)
    return printable(text.translate(_SAME))


def printable(text: str) -> str:
    """Text without control characters (NUL breaks PostgreSQL's JSON) and halves of characters.

    Newlines and tabs stay.
    """
    if text.isprintable():
        return text
    return "".join(
        character
        for character in text
        if character in "\n\t" or unicodedata.category(character) not in {"Cc", "Cs"}
    )


def _text_of(document: str) -> str:
    """What a browser would show, in one pass; what is no tag stays.

    Written here because `html.parser` fails on some malformed input (`<![<`) and takes quadratic
    time on other.
    """
    pieces: list[str] = []
    lower = document.translate(_LOWER)
    at = 0
    while (begin := document.find("<", at)) >= 0:
        pieces.append(document[at:begin])
        tag = _TAG.match(document, begin)
        if tag is not None:
            name = tag[2].lower()
            if name in _BREAKS:
                pieces.append("\n")
            at = tag.end()
            if name in _SILENT and not tag[1]:
                at = _after(lower, f"</{name}", at)
        elif document.startswith("<!--", begin):
            at = _after(document, "-->", begin + 4)
        elif document.startswith("<!", begin):
            at = _after(document, ">", begin)
        else:
            pieces.append("<")
            at = begin + 1
    pieces.append(document[at:])
    return html.unescape("".join(pieces))


def _after(text: str, mark: str, start: int) -> int:
    found = text.find(mark, start)
    return len(text) if found < 0 else found + (0 if mark.startswith("</") else len(mark))
