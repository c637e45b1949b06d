"""In which form images are read: how many channels, and which number is white in 16 bits."""

from __future__ import annotations

from dataclasses import dataclass

DEEPEST = 65535  # of 16 bits


@dataclass(frozen=True)
class PixelFormat:
    """What a model, or who looks at a picture, wants of an image.

    * Three channels are red, green and blue: grey is repeated, palettes and CMYK are converted, and what is transparent
      shows white.
    * One channel is grey: images with three channels serve where these are equal, as those of grey JPEGs are.
    * Any other number are the bands of the file as they are; of four, the last one may be alpha.

    An image with another number is refused.

    >>> PixelFormat(channels=4, white_level=4095)
    PixelFormat(channels=4, white_level=4095)
    """

    channels: int | None = 3  # None: as many as the image has but for alpha
    # Of images of 16 bits: they become 0..1 by a division by it. 4095 where a camera stores 12 bits in 16.
    white_level: int = DEEPEST

    def __post_init__(self) -> None:
        if self.channels is not None and self.channels < 1:
            raise ValueError(f"PixelFormat: channels must be positive or None; got {self.channels}")
        if not 0 < self.white_level <= DEEPEST:
            raise ValueError(f"PixelFormat: white_level must lie in 1..{DEEPEST}; got {self.white_level}")


RGB = PixelFormat()
EVERY_CHANNEL = PixelFormat(channels=None)
