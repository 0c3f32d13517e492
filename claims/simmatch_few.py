"""SimMatch with 2 labels per class: the fewer labels, the more the memory of them says."""

from dataclasses import replace

from claims import simmatch_digits
from claims.sources import digits

CLAIM = replace(
    simmatch_digits.CLAIM,
    setting="as simmatch-digits, with 2 labels per class",
    data=digits(2),
)
