"""As long-tail-photo-digits, where the classes with the fewest labels have the most unlabelled pictures."""

from dataclasses import replace

from claims import long_tail_photo_digits
from claims.sources import long_tailed_photo_digits

DATA = long_tailed_photo_digits(200, 20, unlabelled_head=2000, reverse=True)

CLAIM = replace(
    long_tail_photo_digits.CLAIM,
    statement="DASO gains over FixMatch on digits on photos, where the unlabelled tail is the labelled head.",
    setting=f"{long_tail_photo_digits.CLAIM.setting}; unlabelled pictures per class reversed, 100 to 2,000",
    data=DATA,
    variants=long_tail_photo_digits.variants(0.3, DATA),
    expect=long_tail_photo_digits.expected(3.0),
)
