"""Domains: the light, the noise and the surfaces that scenes are seen in."""

from __future__ import annotations

from dataclasses import dataclass

from leaven.errors import ConfigError, nearest

Range = tuple[float, float]


@dataclass(frozen=True)
class Domain:
    """How pictures of one kind look; every scene draws its own values from the ranges.

    A clean colour ``c`` (0..255) at ``(x, y)``, measured from the middle in half sides, becomes
    ``c * tint * (ambient + slope_x x + slope_y y + lamp exp(-|p - p_lamp|^2 / (2 * 0.5^2)))`` plus
    noise, rounded and clipped.

    Attributes:
        name: for people.
        ambient: light everywhere, 1 as the photos were taken.
        slope: the most that light changes over half a side, along x and y.
        lamp: light in the middle of a lamp.
        noise: standard deviation of the noise in grey levels.
        tint: factors of red, green and blue.
        texture: whether backgrounds are textures in place of photos, and digits are filled with
            cuttings of photos in place of one colour.
    """

    name: str
    ambient: Range
    slope: float = 0.15
    lamp: Range = (0.0, 0.0)
    noise: Range = (1.0, 4.0)
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)
    texture: bool = False


DOMAINS = {
    domain.name: domain
    for domain in (
        Domain("day", ambient=(0.8, 1.1)),
        Domain(
            "night",
            ambient=(0.25, 0.4),
            slope=0.05,
            lamp=(0.1, 0.5),
            noise=(5.0, 10.0),
            tint=(0.8, 0.9, 1.15),
        ),
        Domain("noise", ambient=(0.8, 1.1), noise=(25.0, 45.0)),
        Domain("texture", ambient=(0.8, 1.1), texture=True),
    )
}
"""The domains by name. One scene in two of them has the same layout."""


def domain_of(domain: str | Domain) -> Domain:
    """The domain of that name; a ``Domain`` as it is.

    Raises:
        ConfigError: there is no domain of that name.
    """
    if isinstance(domain, Domain):
        return domain
    if domain not in DOMAINS:
        raise ConfigError(
            f"There is no domain {domain!r} of scenes.",
            f"one of {', '.join(DOMAINS)}, or a Domain",
            nearest(domain, DOMAINS),
        )
    return DOMAINS[domain]
