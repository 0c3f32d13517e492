"""Captions without what is no description: addresses, marks of the web, sizes, repeated signs."""

from __future__ import annotations

import html
import re
import unicodedata
from urllib.parse import unquote_plus

# Every pattern begins where a word begins or has a bounded length, so that a caption of any kind
# is cleaned in a time proportional to its length.
_ENDINGS = (
    "avif|bmp|csv|docx?|eps|gif|html?|jfif|jpe?g|mov|mp3|mp4|pdf|png|psd|raw|svg|tiff?|txt|webm|webp"
    "|xlsx?|xml|zip"
)
_ADDRESS = re.compile(
    r"(?<![\w.-])(?:(?:https?|ftp)://\S+|www\.\S+"
    r"|(?:[\w-]+\.)+(?:com|net|org|edu|gov|info|biz|ru|co|uk|de|io)(?:[/?#]\S*)?(?![\w-]|\.\w))"
)
_TAG = re.compile(r"<!--[^<>]*-->|</?[a-z!][^<>]*>")
_AT_NAME = re.compile(r"(?<![\w.+-])[\w.+-]*@\w[\w.-]*")
_IP = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?::\d{1,5})?(?![\w.]*\d)")
_LONG_NUMBER = re.compile(r"#?(?<!\d)\d{6,}(?!\d)")
_FILE = re.compile(rf"(?<![\w./%-])[\w./%-]+\.(?:{_ENDINGS})(?![\w-])")
_SIZE = re.compile(
    r"(?<!\w)\d{2,5}\s{0,2}[x\u00d7*\u0445]\s{0,2}\d{2,5}(?:\s{0,2}(?:px|pixels?))?(?!\w)"
)
_CJK = re.compile(
    "[\u2e80-\u2fdf\u3000-\u30ff\u3100-\u31ff\u3200-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff"
    "\ufe30-\ufe4f\uff00-\uffef\U00020000-\U0003ffff]+"
)
_DASHES = re.compile("[\u00ad\u058a\u2010-\u2015\u2043\u2053\u2212\u2e3a\u2e3b\ufe58\ufe63]")
_SINGLE_QUOTES = re.compile("[\u0060\u00b4\u02bc\u2018-\u201b\u2032\u2039\u203a]")
_DOUBLE_QUOTES = re.compile("[\u00ab\u00bb\u201c-\u201f\u2033]")
_REPEATED = re.compile(r"""([!?.,;:'"#*~^+=|\\/&$%_-])\1+""")
_EMPTY_BRACKETS = re.compile(r"\(\s*\)|\[\s*\]|\{\s*\}")
_BEFORE_SIGN = re.compile(r"(?<!\s)\s([.,;:!?])(?!\S)")
_JOINING = re.compile("[-_]")
_MOST_JOINED = 3
_AT_ENDS = " '\"-_+:;,|*#"


def clean_caption(caption: str) -> str:
    """A caption in small letters, without what says nothing of the picture; applied twice.

    In this order: percent codes and HTML entities are decoded; small letters; web addresses, HTML
    tags, ``@`` names and mail addresses, IP addresses, file names, image sizes (``1280 x 720 px``)
    and numbers of six and more digits (``#123456``) are dropped; so are the signs of Chinese,
    Japanese and Korean, and signs that cannot be printed; dashes become ``-``, quotes ``'`` and
    ``"``; where ``-`` and ``_`` occur more than three times together they become blanks; a sign of
    punctuation that is repeated is written once, blanks too, and what dangles at the ends goes.

    It is applied twice because what one pass decodes or joins the next one drops; the same is done
    with the captions of training and with the prompts of pictures.

    Source: Chen et al., PixArt-alpha, ICLR 2024. Used by: 001.
    """
    return _once(_once(caption))


def _once(caption: str) -> str:
    text = html.unescape(unquote_plus(caption, errors="ignore")).lower()
    text = "".join(map(_printable, text))
    # Files before addresses: "photo.co.jpg" is no address with something behind it.
    for pattern in (_TAG, _FILE, _ADDRESS, _AT_NAME, _IP, _SIZE, _LONG_NUMBER, _CJK):
        text = pattern.sub(" ", text)
    text = _DASHES.sub("-", text)
    text = _SINGLE_QUOTES.sub("'", text)
    text = _DOUBLE_QUOTES.sub('"', text)
    if len(_JOINING.findall(text)) > _MOST_JOINED:
        text = _JOINING.sub(" ", text)
    text = _REPEATED.sub(r"\1", text)
    text = " ".join(_EMPTY_BRACKETS.sub(" ", text).split())
    return _BEFORE_SIGN.sub(r"\1", text).strip(_AT_ENDS)


def _printable(letter: str) -> str:
    """A blank in place of a control sign, half a sign, and the sign for what was not understood."""
    return (
        " "
        if unicodedata.category(letter) in ("Cc", "Cs", "Co", "Cn") or letter == "\ufffd"
        else letter
    )
