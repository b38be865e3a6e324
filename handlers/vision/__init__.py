"""Finding flat, rectangular things in photographs and laying them straight. Classical: nothing here is learned.

    pixels = to_rgb(image)                       a decoded picture as an array, 8 bits, sRGB
    found = find_card(pixels, aspect)            its four sides to a fraction of a pixel
    cards = find_cards(pixels, aspect)           of each card, where several lie on one picture
    straight = rectify(pixels, found, size)      the card seen from above, at a fixed scale

Points are x, y in pixels with the centre of the upper left pixel at 0, 0, as OpenCV has it.
"""

from handlers.vision.find import find_card, find_cards
from handlers.vision.pixels import to_rgb
from handlers.vision.rectify import rectify

__all__ = ["find_card", "find_cards", "rectify", "to_rgb"]
