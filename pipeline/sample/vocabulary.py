"""The words and paints of the sample's product types, colours and textures."""

from dataclasses import dataclass

Rgb = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class Product:
    """How a product type is spoken of."""

    nouns: tuple[str, ...]
    category: tuple[str, ...]
    """From the general to the particular."""
    facts: tuple[str, ...]
    """Sentences that fit any item of the type."""
    uses: tuple[str, ...]
    """Continues "Made for", "Ideal for"."""
    price: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Colour:
    """A colour in words and as painted."""

    words: tuple[str, ...]
    paint: Rgb
    contrast: Rgb
    """Second colour of a pattern."""


PRODUCTS = {
    "mug": Product(
        nouns=("mug", "coffee mug", "tea cup"),
        category=("Home & Kitchen", "Drinkware", "Mugs"),
        facts=(
            "It holds 350 ml and keeps coffee warm through a long morning.",
            "The stoneware is safe in the dishwasher and the microwave.",
            "A wide handle leaves room for four fingers.",
            "Glazed by hand, so no two cups are quite alike.",
        ),
        uses=("a slow breakfast", "hot chocolate on cold days", "the desk at the office"),
        price=(8, 22),
    ),
    "teapot": Product(
        nouns=("teapot", "tea pot with lid", "ceramic teapot"),
        category=("Home & Kitchen", "Tea & Coffee", "Teapots"),
        facts=(
            "The spout pours without a drip and the lid stays on when tilted.",
            "It brews one litre, enough for four cups of tea.",
            "A fine strainer behind the spout holds back loose leaves.",
            "Thick porcelain walls keep green or black tea hot.",
        ),
        uses=("afternoon tea", "brewing loose-leaf tea", "sharing a pot with friends"),
        price=(25, 60),
    ),
    "vase": Product(
        nouns=("vase", "flower vase", "decorative vase"),
        category=("Home & Kitchen", "Home Décor", "Vases"),
        facts=(
            "The narrow neck keeps even a few stems upright.",
            "Watertight inside, so fresh flowers last longer.",
            "Turned from heavy ceramic that does not tip over easily.",
            "It looks finished even without a bouquet.",
        ),
        uses=("fresh-cut tulips", "dried grasses and flowers", "an empty shelf or sideboard"),
        price=(18, 70),
    ),
    "lamp": Product(
        nouns=("table lamp", "bedside lamp", "desk lamp with shade"),
        category=("Home & Kitchen", "Lighting", "Table Lamps"),
        facts=(
            "The fabric shade spreads a warm and even light.",
            "It takes any E27 bulb and has a switch on the cord.",
            "A weighted foot keeps the lamp steady on the nightstand.",
            "Light falls downward for reading without dazzling.",
        ),
        uses=("reading in bed", "a cosy corner of the living room", "soft evening light"),
        price=(30, 95),
    ),
    "clock": Product(
        nouns=("wall clock", "round wall clock", "quartz clock"),
        category=("Home & Kitchen", "Home Décor", "Clocks"),
        facts=(
            "A silent quartz movement means no ticking at night.",
            "The large dial can be read from across the room.",
            "One AA battery runs it for about a year.",
            "Hour and minute hands stand out clearly from the white face.",
        ),
        uses=("the kitchen wall", "a quiet bedroom", "telling the time at a glance"),
        price=(15, 55),
    ),
    "cushion": Product(
        nouns=("cushion", "throw pillow", "sofa cushion"),
        category=("Home & Kitchen", "Bedding", "Cushions"),
        facts=(
            "The cover comes off with a hidden zip and can be washed at 40 degrees.",
            "A soft feather filling springs back into shape.",
            "Piped edges give it a neat outline on the couch.",
            "It measures 45 by 45 centimetres.",
        ),
        uses=("the sofa", "a reading nook", "propping yourself up in bed"),
        price=(12, 40),
    ),
    "armchair": Product(
        nouns=("armchair", "upholstered chair", "lounge chair"),
        category=("Home & Kitchen", "Furniture", "Chairs"),
        facts=(
            "Deep upholstery and a high back make it hard to get up again.",
            "The legs are solid beech and screw in without tools.",
            "A hardwood frame carries up to 130 kilograms.",
            "Armrests at the right height for a long book.",
        ),
        uses=("the living room", "a seat by the window", "long evenings"),
        price=(150, 480),
    ),
    "backpack": Product(
        nouns=("backpack", "rucksack", "daypack"),
        category=("Luggage & Bags", "Backpacks", "Daypacks"),
        facts=(
            "A padded sleeve takes a 15-inch laptop.",
            "Wide shoulder straps spread the weight over a full day.",
            "The front pocket closes with a zip and holds keys and phone.",
            "Water-repellent fabric shrugs off a shower.",
        ),
        uses=("school and university", "weekend hikes", "the daily commute"),
        price=(35, 110),
    ),
    "sneaker": Product(
        nouns=("sneaker", "running shoe", "low-top trainer"),
        category=("Clothing & Shoes", "Shoes", "Sneakers"),
        facts=(
            "A cushioned sole softens every step on asphalt.",
            "The laces run through reinforced eyelets.",
            "Breathable canvas lets air reach your feet.",
            "The rubber outsole grips on wet pavement.",
        ),
        uses=("walking all day", "a light run in the park", "casual outfits"),
        price=(45, 130),
    ),
    "t-shirt": Product(
        nouns=("T-shirt", "crew-neck tee", "short-sleeved shirt"),
        category=("Clothing & Shoes", "Tops", "T-Shirts"),
        facts=(
            "Combed organic cotton feels soft from the first day.",
            "The crew neck keeps its shape after many washes.",
            "Short sleeves and a straight cut suit everyone.",
            "Pre-shrunk jersey, true to size.",
        ),
        uses=("summer days", "layering under a jacket", "everyday wear"),
        price=(12, 35),
    ),
    "dress": Product(
        nouns=("dress", "summer dress", "sleeveless midi dress"),
        category=("Clothing & Shoes", "Women", "Dresses"),
        facts=(
            "The fitted waist opens into a swinging skirt.",
            "Light viscose falls softly and hardly creases.",
            "Narrow straps can be adjusted at the back.",
            "It is lined, so nothing shows through.",
        ),
        uses=("garden parties", "warm evenings", "a wedding in summer"),
        price=(35, 120),
    ),
    "umbrella": Product(
        nouns=("umbrella", "rain umbrella", "stick umbrella"),
        category=("Luggage & Bags", "Accessories", "Umbrellas"),
        facts=(
            "Eight fibreglass ribs bend in a gust and do not break.",
            "The curved wooden handle hangs over an arm or a chair.",
            "Rain rolls off the canopy, which dries in minutes.",
            "It opens at the push of a button.",
        ),
        uses=("rainy walks", "windy autumn days", "two people under one roof"),
        price=(18, 50),
    ),
}

COLOURS = {
    "red": Colour(words=("red", "crimson", "cherry-red"), paint=(196, 30, 42), contrast=(250, 232, 220)),
    "orange": Colour(words=("orange", "tangerine", "apricot-orange"), paint=(238, 122, 28), contrast=(255, 240, 222)),
    "yellow": Colour(words=("yellow", "lemon-yellow", "sunny yellow"), paint=(244, 203, 44), contrast=(255, 253, 240)),
    "green": Colour(words=("green", "forest-green", "leaf-green"), paint=(42, 128, 66), contrast=(226, 242, 214)),
    "turquoise": Colour(words=("turquoise", "teal", "aqua"), paint=(38, 178, 178), contrast=(230, 250, 248)),
    "blue": Colour(words=("blue", "navy", "cobalt-blue"), paint=(34, 66, 158), contrast=(224, 234, 250)),
    "purple": Colour(words=("purple", "violet", "plum"), paint=(116, 52, 148), contrast=(238, 224, 246)),
    "pink": Colour(words=("pink", "rose-pink", "blush"), paint=(242, 132, 172), contrast=(255, 240, 245)),
    "black": Colour(words=("black", "charcoal", "jet-black"), paint=(44, 44, 48), contrast=(226, 226, 226)),
}

TEXTURES = {
    "plain": ("plain", "solid-coloured", "unpatterned"),
    "striped": ("striped", "candy-striped", "pinstriped"),
    "dotted": ("dotted", "polka-dot", "spotted"),
    "checked": ("checked", "gingham", "chequered"),
    "zigzag": ("zigzag", "chevron", "zigzag-patterned"),
    "floral": ("floral", "flowered", "blossom-print"),
}

TEXTURE_SENTENCES = {
    "plain": (
        "No pattern, just clean colour.",
        "A single colour from edge to edge.",
        "Calm and without a print.",
    ),
    "striped": (
        "Bold stripes run all the way across.",
        "Even stripes give it a nautical air.",
        "Lines, light and dark.",
    ),
    "dotted": ("Polka dots make it playful.", "Covered in neat round dots.", "A cheerful scatter of spots."),
    "checked": ("A gingham check, as at a picnic.", "Classic squares that never date.", "Crossing bands form a check."),
    "zigzag": ("A chevron pattern full of energy.", "Zigzag lines catch the eye.", "Sharp zigzags in two tones."),
    "floral": (
        "Little blossoms all over.",
        "A floral print as fresh as spring.",
        "Scattered five-petalled flowers.",
    ),
}

BRANDS = ("Alder & Finch", "Bramley", "Casa Nova", "Dunmore", "Elmstead", "Fairwind", "Greta Holm", "Harbour Lane")
