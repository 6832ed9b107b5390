"""Draws an item, on demand: a silhouette by category, its colour, its pattern, a trim for its style and a mark for its brand.

The image shows the truth; the `caption` field is what a captioner with a set error rate says of it. Integer geometry and no
anti-aliasing, so that the pixels are the same everywhere. Values that an item does not have are drawn neutral.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from PIL import Image, ImageChops, ImageDraw

from lore_lab.data.world.draws import number

if TYPE_CHECKING:
    from lore_lab.data.world.items import Item

SIDE = 64  #: pixels
GROUND = (236, 236, 232)
NEUTRAL = (176, 168, 150)
COLOURS = {
    "red": (200, 40, 45), "blue": (45, 85, 190), "black": (30, 30, 34), "white": (252, 252, 252), "green": (45, 140, 75),
    "pink": (240, 140, 185), "yellow": (240, 205, 60), "brown": (120, 78, 48), "grey": (135, 138, 142), "purple": (120, 70, 160),
    "beige": (220, 198, 160), "orange": (240, 140, 40),
}  # fmt: skip
Points = Sequence[tuple[int, int]]
#: silhouettes as polygons on a 64 x 64 grid; a tuple of four numbers is an ellipse's box
SHAPES: dict[str, list[Points | tuple[int, int, int, int]]] = {
    "dress": [[(25, 8), (39, 8), (38, 26), (52, 56), (12, 56), (26, 26)]],
    "skirt": [[(24, 16), (40, 16), (54, 52), (10, 52)]],
    "top": [[(22, 12), (42, 12), (58, 24), (52, 34), (44, 28), (44, 54), (20, 54), (20, 28), (12, 34), (6, 24)]],
    "coat": [[(22, 8), (42, 8), (56, 26), (50, 34), (44, 28), (48, 60), (16, 60), (20, 28), (14, 34), (8, 26)]],
    "trousers": [[(20, 8), (44, 8), (50, 58), (38, 58), (32, 26), (26, 58), (14, 58)]],
    "strap": [[(4, 28), (60, 24), (60, 34), (4, 38)], [(4, 22), (16, 22), (16, 44), (4, 44)]],
    "bag": [[(10, 26), (54, 26), (58, 56), (6, 56)], [(20, 26), (20, 12), (44, 12), (44, 26), (40, 26), (40, 16), (24, 16), (24, 26)]],
    "box": [[(10, 16), (54, 16), (54, 52), (10, 52)]],
    "stack": [[(8, 8), (42, 8), (42, 24), (8, 24)], [(14, 26), (50, 26), (50, 42), (14, 42)], [(20, 44), (58, 44), (58, 60), (20, 60)]],
    "shoe": [[(8, 24), (26, 24), (34, 36), (56, 42), (58, 52), (8, 52)]],
    "phone": [[(20, 6), (44, 6), (46, 8), (46, 56), (44, 58), (20, 58), (18, 56), (18, 8)]],
    "laptop": [[(14, 12), (50, 12), (50, 40), (14, 40)], [(6, 44), (58, 44), (62, 52), (2, 52)]],
    "ring": [(8, 8, 56, 56)],
    "camera": [[(6, 20), (20, 20), (24, 12), (40, 12), (44, 20), (58, 20), (58, 52), (6, 52)]],
    "bottle": [[(27, 4), (37, 4), (37, 16), (46, 24), (46, 60), (18, 60), (18, 24), (27, 16)]],
    "jar": [[(14, 20), (50, 20), (50, 56), (14, 56)], [(18, 10), (46, 10), (46, 17), (18, 17)]],
    "stick": [[(28, 4), (36, 4), (36, 60), (28, 60)]],
    "lamp": [[(22, 6), (42, 6), (52, 30), (12, 30)], [(30, 30), (34, 30), (34, 54), (44, 58), (20, 58), (30, 54)]],
    "chair": [[(14, 6), (22, 6), (22, 30), (50, 30), (50, 58), (44, 58), (44, 38), (20, 38), (20, 58), (14, 58)]],
    "pan": [(4, 18, 42, 56), [(38, 33), (62, 29), (62, 37), (38, 41)]],
    "racket": [(18, 4, 46, 38), [(29, 36), (35, 36), (35, 62), (29, 62)]],
}  # fmt: skip


def draw_item(item: Item) -> Image.Image:
    """A 64 x 64 RGB image of `item`, the same for the same item."""
    colour = COLOURS.get(item.values.get("colour", ""), NEUTRAL)
    ink = (245, 245, 245) if sum(colour) < 380 else (40, 40, 44)
    mask = Image.new("1", (SIDE, SIDE))
    _fill(ImageDraw.Draw(mask), SHAPES[item.category.shape])
    cloth = Image.new("RGB", (SIDE, SIDE), colour)
    pen = ImageDraw.Draw(cloth)
    PATTERNS.get(item.values.get("pattern", ""), _plain)(pen, ink)
    image = Image.new("RGB", (SIDE, SIDE), GROUND)
    image.paste(cloth, mask=mask)
    image.paste(_trim(item.values.get("style", "")), mask=_outline(mask))
    if "brand" in item.values:
        _logo(ImageDraw.Draw(image), item.values["brand"])
    return image


def _fill(pen: ImageDraw.ImageDraw, parts: list[Points | tuple[int, int, int, int]]) -> None:
    for part in parts:
        if isinstance(part, tuple):
            pen.ellipse(part, fill=1)
        else:
            pen.polygon(list(part), fill=1)


def _outline(mask: Image.Image) -> Image.Image:
    """The pixels of a mask whose left or upper neighbour lies outside, or which lie outside beside one inside."""
    moved = ImageChops.offset(mask, 1, 0)
    raised = ImageChops.offset(mask, 0, 1)
    return ImageChops.logical_or(ImageChops.logical_xor(mask, moved), ImageChops.logical_xor(mask, raised))


def _trim(style: str) -> tuple[int, int, int]:
    """A style's own outline colour; dark for none."""
    if not style:
        return (60, 60, 64)
    code = number("trim", style)
    return (60 + code % 160, 60 + code // 160 % 160, 60 + code // 25600 % 160)


def _plain(pen: ImageDraw.ImageDraw, ink: tuple[int, int, int]) -> None:
    """Nothing on the cloth."""


def _striped(pen: ImageDraw.ImageDraw, ink: tuple[int, int, int]) -> None:
    for y in range(4, SIDE, 9):
        pen.rectangle((0, y, SIDE, y + 2), fill=ink)


def _dotted(pen: ImageDraw.ImageDraw, ink: tuple[int, int, int]) -> None:
    for y in range(4, SIDE, 10):
        for x in range(4 + (y // 10 % 2) * 5, SIDE, 10):
            pen.ellipse((x, y, x + 3, y + 3), fill=ink)


def _checked(pen: ImageDraw.ImageDraw, ink: tuple[int, int, int]) -> None:
    for y in range(0, SIDE, 12):
        for x in range(y // 12 % 2 * 12, SIDE, 24):
            pen.rectangle((x, y, x + 11, y + 11), fill=ink)


def _floral(pen: ImageDraw.ImageDraw, ink: tuple[int, int, int]) -> None:
    for y in range(6, SIDE, 16):
        for x in range(6 + (y // 16 % 2) * 8, SIDE, 16):
            for dx, dy in ((-3, 0), (3, 0), (0, -3), (0, 3)):
                pen.ellipse((x + dx - 1, y + dy - 1, x + dx + 1, y + dy + 1), fill=ink)


def _camouflage(pen: ImageDraw.ImageDraw, ink: tuple[int, int, int]) -> None:
    for blob in range(14):
        code = number("camouflage", blob)
        x, y, width, height = code % 56, code // 56 % 56, 6 + code // 3136 % 10, 4 + code // 31360 % 6
        pen.ellipse((x, y, x + width, y + height), fill=ink)


PATTERNS: dict[str, Callable[[ImageDraw.ImageDraw, tuple[int, int, int]], None]] = {
    "plain": _plain, "striped": _striped, "dotted": _dotted, "checked": _checked, "floral": _floral, "camouflage": _camouflage,
}  # fmt: skip


def _logo(pen: ImageDraw.ImageDraw, brand: str) -> None:
    """A 5 x 5 mirrored block mark in the lower right corner: a brand's own."""
    code = number("logo", brand)
    pen.rectangle((51, 51, 63, 63), fill=(250, 250, 250))
    for bit in range(15):
        if code >> bit & 1:
            row, column = divmod(bit, 3)
            for x in (column, 4 - column):
                pen.rectangle((52 + 2 * x, 52 + 2 * row, 53 + 2 * x, 53 + 2 * row), fill=(20, 20, 20))
