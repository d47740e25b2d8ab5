"""The words of the world: things and animals, verbs, opposites, numbers, each with its forms.

Every word means one thing here (`light` is never the opposite of `heavy` and of `dark` at once), so that a question
about a word has one right answer.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

from corpus.world.choices import Table

T = TypeVar("T", "Verb", "Adjective")

_VOWELS = "aeiou"


def with_article(words: str) -> str:
    """The words with their indefinite article, by the first letter (no word here begins with another sound)."""
    return f"{'an' if words[0] in _VOWELS else 'a'} {words}"


def words(text: str) -> list[str]:
    """`text` at its spaces."""
    return text.split()


@dataclass(frozen=True, eq=False, slots=True)
class Noun:
    """`word`, its `plural`, and what it is one of (`category`, "" for what is none of the world's categories)."""

    word: str
    plural: str
    category: str
    a: str = field(init=False)
    Word: str = field(init=False)
    Plural: str = field(init=False)
    a_category: str = field(init=False)
    A: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "a_category", with_article(self.category) if self.category else "")
        object.__setattr__(self, "a", with_article(self.word))
        object.__setattr__(self, "A", self.a.capitalize())
        object.__setattr__(self, "Word", self.word.capitalize())
        object.__setattr__(self, "Plural", self.plural.capitalize())

    def many(self, n: int) -> str:
        return f"{NUMBERS[n]} {self.word if n == 1 else self.plural}"


@dataclass(frozen=True, eq=False, slots=True)
class Word:
    """A word without forms."""

    word: str
    a: str = field(init=False)
    Word: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "a", with_article(self.word))
        object.__setattr__(self, "Word", self.word.capitalize())


@dataclass(frozen=True, eq=False, slots=True)
class Verb:
    """`word` (to), `past` and `participle`."""

    word: str
    past: str
    participle: str
    Past: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "Past", self.past.capitalize())


@dataclass(frozen=True, eq=False, slots=True)
class Adjective:
    """`word` and its `opposite`."""

    word: str
    opposite: str
    a: str = field(init=False)
    Word: str = field(init=False)
    Opposite: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "a", with_article(self.word))
        object.__setattr__(self, "Word", self.word.capitalize())
        object.__setattr__(self, "Opposite", self.opposite.capitalize())


def plural_of(word: str) -> str:
    if word.endswith("y") and word[-2] not in _VOWELS:
        return word[:-1] + "ies"
    return word + ("es" if word.endswith(("s", "x", "ch", "sh")) else "s")


def _nouns(category: str, words: str) -> list[Noun]:
    """`goose/geese hen`: the plural is given where it isn't by rule."""
    pairs = [word.partition("/") for word in words.split()]
    return [Noun(word, plural or plural_of(word), category) for word, _, plural in pairs]


BIRDS = _nouns("bird", "goose/geese hen heron owl raven robin swan sparrow dove")
BEASTS = _nouns("beast", "fox mouse/mice ox/oxen sheep/sheep pony hare goat donkey wolf/wolves cat")
INSECTS = _nouns("insect", "bee moth beetle butterfly ant wasp cricket")
FRUITS = _nouns("fruit", "apple pear plum cherry fig peach quince melon lemon")
FLOWERS = _nouns("flower", "rose lily daisy tulip violet poppy")
TREES = _nouns("tree", "oak elm birch willow maple pine")
TOOLS = _nouns("tool", "hammer axe knife/knives needle spade rake brush sickle chisel")
GARMENTS = _nouns("garment", "coat cloak scarf/scarves hat glove boot shirt apron belt")
VESSELS = _nouns("vessel", "jug bowl cup kettle bucket bottle barrel vase")
INSTRUMENTS = _nouns("instrument", "flute drum harp fiddle horn bell lute whistle")
JEWELS = _nouns("jewel", "ring brooch pearl ruby crown necklace")
TOYS = _nouns("toy", "kite doll ball top puppet marble")
FURNITURE = _nouns("furniture", "chair table bench stool bed shelf/shelves chest desk")
OTHERS = _nouns("", "lantern key letter book candle rope map purse mirror comb umbrella basket blanket")
FOODS = _nouns("", "loaf/loaves cheese cake egg pie bun")

ANIMALS = BIRDS + BEASTS
PORTABLE = TOOLS + GARMENTS + VESSELS + INSTRUMENTS + JEWELS + TOYS + OTHERS
CLASSIFIED = [
    noun
    for group in (BIRDS, BEASTS, INSECTS, FRUITS, FLOWERS, TREES, TOOLS, GARMENTS, VESSELS, INSTRUMENTS, JEWELS, TOYS)
    for noun in group
]
NOUNS = CLASSIFIED + FURNITURE + OTHERS + FOODS
CATEGORIES = sorted({noun.category for noun in CLASSIFIED})

# What a person does to a thing. All make sense with all things that can be carried.
DEEDS = [
    Verb(*words.split("/"))
    for words in words(
        "find/found/found hide/hid/hidden sell/sold/sold buy/bought/bought bring/brought/brought take/took/taken "
        "lose/lost/lost hold/held/held break/broke/broken draw/drew/drawn choose/chose/chosen steal/stole/stolen "
        "carry/carried/carried wash/washed/washed mend/mended/mended paint/painted/painted lift/lifted/lifted "
        "drop/dropped/dropped borrow/borrowed/borrowed polish/polished/polished want/wanted/wanted "
        "wrap/wrapped/wrapped keep/kept/kept throw/threw/thrown"
    )
]
# What a person does alone.
DOINGS = [
    Verb(*words.split("/"))
    for words in words(
        "sing/sang/sung sleep/slept/slept swim/swam/swum run/ran/run sit/sat/sat stand/stood/stood "
        "laugh/laughed/laughed dance/danced/danced wait/waited/waited walk/walked/walked dream/dreamed/dreamed "
        "smile/smiled/smiled rest/rested/rested work/worked/worked read/read/read write/wrote/written "
        "drink/drank/drunk eat/ate/eaten climb/climbed/climbed speak/spoke/spoken ride/rode/ridden "
        "fall/fell/fallen"
    )
    if not words.startswith("read/")  # its past is spelled alike
]
VERBS = DEEDS + DOINGS

OPPOSITES = [
    tuple(pair.split("/"))
    for pair in words(
        "heavy/light big/small long/short high/low wide/narrow thick/thin deep/shallow hot/cold wet/dry full/empty "
        "clean/dirty hard/soft smooth/rough sharp/blunt bright/dark loud/quiet quick/slow early/late near/far "
        "open/closed rich/poor strong/weak young/old happy/sad brave/timid gentle/cruel calm/wild cheap/costly "
        "sweet/sour fresh/stale true/false right/wrong"
    )
]
ADJECTIVES = [Adjective(*pair) for one, other in OPPOSITES for pair in ((one, other), (other, one))]


def _some(table: list[T], words: str) -> Table[T]:
    chosen = words.split()
    return Table([item for item in table if item.word in chosen])


THING_ADJECTIVE_TABLE = _some(
    ADJECTIVES,
    "heavy light big small long short wide narrow thick thin clean dirty hard soft smooth rough cheap costly wet dry",
)
MOOD_TABLE = _some(ADJECTIVES, "strong weak young old happy sad brave timid calm wild quick slow loud quiet")
COLOURS = [
    Word(word)
    for word in words(
        "red blue green yellow white black brown grey purple orange pink golden silver scarlet amber crimson ivory"
    )
]

NUMBERS = words(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen twenty"
)
DAYS = words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
MONTHS = words("January February March April May June July August September October November December")
SEASONS = ["spring", "summer", "autumn", "winter"]

ANIMAL_TABLE = Table(ANIMALS)
PORTABLE_TABLE = Table(PORTABLE)
NOUN_TABLE = Table(NOUNS)
CLASSIFIED_TABLE = Table(CLASSIFIED)
DEED_TABLE = Table(DEEDS)
DOING_TABLE = Table(DOINGS)
EVENING_TABLE = _some(DOINGS, "sing sleep laugh dance dream smile rest work write drink eat speak sit")
TRAVEL_TABLE = _some(DOINGS, "run walk ride dance climb")
PERCH_TABLE = _some(DOINGS, "sing sleep sit wait drink rest dream")
VERB_TABLE = Table(VERBS)
ADJECTIVE_TABLE = Table(ADJECTIVES)
BIRD_TABLE = Table(BIRDS)
INSECT_TABLE = Table(INSECTS)
FLOWER_TABLE = Table(FLOWERS)
TREE_TABLE = Table(TREES)
GARMENT_TABLE = Table(GARMENTS)
TOY_TABLE = Table(TOYS)
FURNITURE_TABLE = Table(FURNITURE)
FRUIT_TABLE = Table(FRUITS)
FOOD_TABLE = Table(FOODS)
COLOUR_TABLE = Table(COLOURS)


def alphabetical(nouns: list[Noun]) -> list[Noun]:
    return sorted(nouns, key=lambda noun: noun.word)


def listed(words: list[str]) -> str:
    """`a, b and c`."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
