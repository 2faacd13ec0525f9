"""Words of any script. Han, Kana, Thai and their like put no spaces between words: there each character is one.

Texts are normalised first (NFC), so that an accent of its own and the letter that has it are the same (Unicode Standard
Annex #15). Marks belong to the letter before them: they are the vowels of most scripts of India.
"""

import unicodedata

import regex

UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}ー\p{lb=SA}"
"""Line-breaking class SA: Thai, Lao, Khmer, Myanmar and the other scripts that only a dictionary can separate."""
MARKS = r"[\p{M}\u200c\u200d]*"
"""Vowels and accents, and the joiners that stand inside words of Persian and of Indian languages."""
LETTERS = regex.compile(rf"[{UNSPACED}]{MARKS}|(?:[[\p{{L}}\p{{N}}]--[{UNSPACED}]]{MARKS})+", regex.V1)
BETWEEN_SPACES = regex.compile(rf"[{UNSPACED}]{MARKS}|[^\s{UNSPACED}]+", regex.V1)


def normalised(text: str) -> str:
    """Return the text with each letter and its accents as one character where there is one (NFC)."""
    return unicodedata.normalize("NFC", text)


def letter_words(text: str) -> list[str]:
    """Return the words of letters and digits, in lower case; on ASCII text those of the library rouge-score."""
    return LETTERS.findall(normalised(normalised(text).lower()))


def spaced_words(text: str) -> list[str]:
    """Return what white space separates, punctuation included."""
    return BETWEEN_SPACES.findall(normalised(text))
