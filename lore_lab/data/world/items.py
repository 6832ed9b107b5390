"""Items: what is true of them, and which visible field shows it.

The world is honest about what can be known: a value no field shows is *unknown* to any judge, and the gold grade treats it so.
A wrong table cell is always contradicted by the description, a wrong caption by the title, the description or a review;
so whoever reads in the order title, description, reviews, caption, table reads the truth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lore_lab.data.world.draws import Draw, cumulate
from lore_lab.data.world.tables import LOOK, Category, Slot, Tables

if TYPE_CHECKING:
    from lore_lab.config.world import WorldConfig
    from lore_lab.data.example import Need
    from lore_lab.data.world.queries import Query

DESCRIBED_RATE = 0.3  #: chance that the description repeats a value
MENTION_RATE = 0.15  #: chance that a review repeats one


@dataclass(frozen=True, slots=True)
class Item:
    """The truth about an item."""

    category: Category
    values: dict[str, str]  #: dimension -> value
    wording: str  #: plain | style | box | display
    imitates: str  #: whose style the wording names, else ""
    hidden: str  #: a dimension the seller keeps silent about, "" mostly


class ItemMaker:
    """Draws items for queries: answers, near misses, other things."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        scenarios = tables.profile["scenarios"]
        self._scenarios, self._weights = tuple(scenarios), cumulate(list(scenarios.values()))
        self._twists = tables.profile["twists"]

    def draw(self, draw: Draw, query: Query, everything: bool) -> Item:
        """An item somebody might be shown for `query`; `everything` allows the combinations kept for `unseen`."""
        scenario = self._scenarios[draw.weighted(self._weights)]
        category = self._category(draw, scenario, query.needs[0].value)
        missed = self._missed(draw, scenario, query)
        wants = {need.dimension: need for need in query.needs}
        values = {}
        for slot in category.slots:
            need = wants.get(slot.name)
            value = self._any(draw, slot, everything) if need is None else self._answer(draw, slot, need, slot.name in missed)
            values[slot.name] = value if everything or value not in slot.held else draw.pick(slot.open)
        wording, imitates = self._wording(draw, category, values, wants.get("brand"))
        silent = draw.pick(query.needs[1:] or query.needs).dimension if scenario == "silent" else ""
        return Item(category, values, wording, imitates, silent)

    def _category(self, draw: Draw, scenario: str, wanted: str) -> Category:
        tables = self._tables
        category = tables.categories[wanted]
        if scenario == "accessory" and category.accessories:
            return tables.categories[draw.pick(category.accessories)]
        if scenario == "sibling" and category.siblings:
            return tables.categories[draw.pick(category.siblings)]
        return tables.categories[draw.pick(tables.names)] if scenario == "other" else category

    @staticmethod
    def _missed(draw: Draw, scenario: str, query: Query) -> set[str]:
        """The dimensions on which the item is to disappoint."""
        count = {"one": 1, "two": 2}.get(scenario, 0) or (1 if scenario != "exact" and draw.random() < 0.4 else 0)
        asked = [need.dimension for need in query.needs[1:]]
        draw.mix(asked)
        return set(asked[:count])

    def _any(self, draw: Draw, slot: Slot, everything: bool) -> str:
        if slot.name == "condition":
            point = draw.random()
            if point < self._twists["used"]:
                return "used"
            return "refurbished" if point < self._twists["used"] + self._twists["refurbished"] and len(slot.values) > 2 else "new"
        return draw.pick(slot.values if everything else slot.open)

    def _answer(self, draw: Draw, slot: Slot, need: Need, miss: bool) -> str:
        """A value that answers a need, or one that does not."""
        if need.value not in slot.values:
            return draw.pick(slot.values)
        if miss == need.negated:
            if slot.name == "audience" and need.value != "kids" and draw.random() < self._twists["unisex"]:
                return "unisex"
            return need.value
        place = slot.values.index(need.value)
        if slot.ordered and draw.random() < self._twists["near"]:
            near = [slot.values[i] for i in (place - 1, place + 1) if 0 <= i < len(slot.values)]
            return draw.pick(near)
        shift = 1 + int(draw.random() * (len(slot.values) - 1))
        return slot.values[(place + shift) % len(slot.values)]

    def _wording(self, draw: Draw, category: Category, values: dict[str, str], brand: Need | None) -> tuple[str, str]:
        """Seller's wording that changes what is sold. An item that names another brand's style is not of that brand."""
        point, twists = draw.random(), self._twists
        if point < twists["box"]:
            return "box", ""
        if point < twists["box"] + twists["display"]:
            return "display", ""
        if "brand" not in category.slot or draw.random() >= twists["style"] * (1.0 if brand else 0.4):
            return "plain", ""
        slot = category.slot["brand"]
        wanted = brand.value if brand and brand.value in slot.values and draw.random() < 0.75 else draw.pick(slot.open)
        others = [name for name in slot.open if name != wanted]
        if values["brand"] == wanted:
            values["brand"] = draw.pick(others)
        return "style", wanted


@dataclass(slots=True)
class Card:
    """An item as a shop shows it."""

    fields: dict[str, str]
    evidence: dict[str, str]  #: dimension -> the first field that shows its true value; absent when none does


class CardMaker:
    """Writes the visible fields of an item."""

    def __init__(self, config: WorldConfig, tables: Tables) -> None:
        self._config, self._tables = config, tables
        self._short = bool(tables.profile["short"])
        self._title_limit = 4 if self._short else 7

    def write(self, draw: Draw, item: Item) -> Card:
        category, values = item.category, item.values
        noun = draw.pick(category.nouns)
        evidence: dict[str, str] = {}
        titled: list[str] = []
        told: list[Slot] = []
        cells: list[str] = []
        for slot in category.slots:
            self._show(draw, slot, item, evidence, titled, told, cells)
        fields = {"title": self._title(draw, item, noun, titled), "brand": values["brand"] if "brand" in evidence else ""}
        fields["category"] = category.name
        fields["attributes"] = "; ".join(cells)
        fields["description"] = self._description(draw, item, noun, told)
        fields["caption"], wrong = self._caption(draw, item, noun)
        fields["reviews"] = self._reviews(draw, item, evidence, wrong)
        fields["shop"] = self._shop(draw, fields["brand"])
        fields["price"] = self._price(draw, item)
        evidence["category"] = "title"
        return Card(fields, evidence)

    def _show(
        self, draw: Draw, slot: Slot, item: Item, evidence: dict[str, str], titled: list[str], told: list[Slot], cells: list[str]
    ) -> None:
        """Decide which fields show one value."""
        config, random = self._config, draw.random
        name = slot.name
        value = item.values[name]
        if name == "condition":
            if value != "new":  # a seller must say so; that nothing is said means new
                titled.append(name)
                evidence[name] = "title"
            elif random() < 0.3:
                cells.append("condition: new")
            return
        if name == item.hidden or random() < (config.visual_only_rate if slot.visual else config.missing_rate):
            if slot.visual:
                evidence[name] = "caption"
            return
        shown = ""
        if random() >= config.table_gap_rate:
            if random() < config.wrong_cell_rate:
                cells.append(f"{name}: {draw.pick([other for other in slot.values if other != value])}")
                shown = "description"
                told.append(slot)
            else:
                cells.append(f"{name}: {value}")
                shown = "attributes"
        if shown != "description" and random() < DESCRIBED_RATE:
            told.append(slot)
            shown = shown or "description"
        if len(titled) < self._title_limit and random() < slot.title:
            titled.append(name)
            shown = "title"
        if shown or slot.visual:
            evidence[name] = shown or "caption"

    def _title(self, draw: Draw, item: Item, noun: str, titled: list[str]) -> str:
        templates = self._tables.templates
        parts: dict[str, list[str]] = {"noun": [noun], "brand": [], "look": [], "rest": [], "junk": []}
        for name in titled:
            surface = draw.pick(item.category.slot[name].surfaces[item.values[name]])
            parts["brand" if name in ("brand", "series") else "look" if name in LOOK else "rest"].append(surface)
        if item.category.mains and draw.random() < 0.5:
            parts["noun"].append(f"for {draw.pick(item.category.mains)}")
        if item.wording != "plain":
            parts["rest"].append(draw.pick(templates["wording"][item.wording]).format(item.imitates))
        if draw.random() < 0.3:
            parts["junk"].append(draw.pick(templates["stuffing"]))
            if not self._short:
                parts["junk"].append(draw.pick(templates["stuffing"]))
        order = draw.pick(templates["title_orders"])
        return " ".join(word for part in order for word in parts[part])

    def _description(self, draw: Draw, item: Item, noun: str, told: list[Slot]) -> str:
        if not told:
            return f"{noun}."
        phrases = [draw.pick(slot.phrases).format(item.values[slot.name]) for slot in told]
        draw.mix(phrases)
        return str(draw.pick(self._tables.templates["described"])).format(noun=noun, facts=", ".join(phrases))

    def _caption(self, draw: Draw, item: Item, noun: str) -> tuple[str, str]:
        """The caption of the image, and the dimension it gets wrong ("" mostly)."""
        seen = [slot for slot in item.category.slots if slot.visual]
        wrong = draw.pick(seen).name if seen and draw.random() < self._config.caption_error_rate else ""
        words = []
        for slot in seen:
            value = item.values[slot.name]
            if slot.name == wrong:
                value = draw.pick([other for other in slot.values if other != value])
            words.append(value)
        words.reverse()  # "striped red", "vintage striped red": the colour stands next to the noun
        caption = str(draw.pick(self._tables.templates["caption"])) if words else "a {noun}"
        return caption.format(look=" ".join(words), noun=noun), wrong

    def _reviews(self, draw: Draw, item: Item, evidence: dict[str, str], wrong: str) -> str:
        templates = self._tables.templates
        said = [draw.pick(templates["reviews"])]
        if wrong and evidence[wrong] in ("caption", "attributes"):
            said.append(draw.pick(templates["review_mentions"]).format(item.values[wrong]))
            evidence[wrong] = "reviews" if evidence[wrong] == "caption" else evidence[wrong]
        elif evidence and draw.random() < MENTION_RATE:
            name = draw.pick([name for name in evidence if name != "condition"] or [""])
            if name:
                said.append(draw.pick(templates["review_mentions"]).format(item.values[name]))
        return ", ".join(said)

    def _shop(self, draw: Draw, brand: str) -> str:
        templates = self._tables.templates
        if brand and draw.random() < 0.4:
            return str(draw.pick(templates["brand_shop"])).format(brand)
        return str(draw.pick(templates["shops"]))

    @staticmethod
    def _price(draw: Draw, item: Item) -> str:
        """Within the category's range, low or high as the tier says; used goods at half. Only additions and products: same bytes everywhere."""
        low, high = item.category.price
        point = draw.random()
        tier = item.values.get("tier")
        if tier is not None:
            point = (point + ("low", "fair", "high").index(tier)) / 3
        price = low + (high - low) * point * point
        return f"{price * (0.5 if item.values.get('condition') == 'used' else 1.0):.2f}"
