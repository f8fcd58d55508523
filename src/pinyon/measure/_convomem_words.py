"""Words and sentences of the template generator of ConvoMem: who people are, what they talk about, how they say it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "ABSTAIN", "CHANGES", "CHATTER", "COLLECTIONS", "FACTS", "HEARD", "LEADS", "PRAISE", "PREFERENCES", "SHAPED",
    "SUGGESTED", "TAILS", "THEMES", "TOLD", "Collection", "Fact", "Shaped", "Theme",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Theme:
    """Something a person keeps talking about.

    Args:
        name: For the names of chats.
        things: What it is called; the person has one of these, with a name of its own.
        nouns: What such talk mentions.
    """

    name: str
    things: tuple[str, ...]
    nouns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Fact:
    """Something about a thing that has one value.

    Args:
        said: How it is called when it is told.
        asked: How else it may be called in a question.
        kind: Sort of its value: ``person``, ``place``, ``code``, ``day``, ``sum`` or ``brand``.
    """

    said: str
    asked: str
    kind: str


@dataclass(frozen=True, slots=True)
class Collection:
    """Something about a thing that has several values, each told at another time."""

    said: str
    asked: str
    kind: str


@dataclass(frozen=True, slots=True)
class Shaped:
    """A request whose good answer depends on what was said before, in other words.

    Args:
        request: What is asked for.
        context: What was said earlier; each with what a good response should do.
    """

    request: str
    context: tuple[tuple[str, str], ...]


THEMES = (
    Theme("dog", ("spaniel", "terrier", "collie"), ("walk", "collar", "kennel", "treats", "paws", "puppy class")),
    Theme("boat", ("dinghy", "sloop", "canal boat"), ("harbour", "rope", "sail", "tide", "varnish", "anchor")),
    Theme("garden", ("allotment", "greenhouse", "orchard"), ("compost", "seedlings", "tomatoes", "hose", "slugs")),
    Theme("kitchen", ("kitchen", "pantry", "bakehouse"), ("oven", "shelves", "tiles", "worktop", "sink", "paint")),
    Theme("shop", ("bookshop", "pottery", "bicycle shop"), ("shelf", "till", "window", "customers", "delivery")),
    Theme("band", ("quartet", "choir", "brass band"), ("rehearsal", "score", "stage", "encore", "posters")),
    Theme("car", ("camper van", "estate car", "motorbike"), ("tyres", "brakes", "engine", "seats", "mileage")),
    Theme("course", ("pottery course", "Welsh course", "welding course"), ("homework", "exam", "lessons", "notes")),
    Theme("team", ("rowing crew", "chess club", "hockey team"), ("training", "match", "kit", "season", "trophy")),
    Theme("house", ("cottage", "farmhouse", "flat"), ("roof", "windows", "boiler", "stairs", "damp", "garden gate")),
    Theme("project", ("museum exhibit", "charity auction", "film shoot"), ("sponsors", "schedule", "draft", "budget")),
    Theme("journey", ("cycling tour", "pilgrimage", "sleeper train"), ("luggage", "tickets", "map", "hostel", "visa")),
)

FACTS = (
    Fact("vet", "animal doctor", "person"),
    Fact("treasurer", "keeper of the money", "person"),
    Fact("electrician", "person for the wiring", "person"),
    Fact("storage unit", "place for keeping the spare things", "place"),
    Fact("meeting point", "spot where everyone gathers", "place"),
    Fact("padlock code", "combination for the lock", "code"),
    Fact("membership number", "number on the member card", "code"),
    Fact("inspection", "official check", "day"),
    Fact("opening party", "celebration for the start", "day"),
    Fact("deposit", "money paid in advance", "sum"),
    Fact("insurance premium", "yearly cost of the cover", "sum"),
    Fact("lacquer", "coating", "brand"),
    Fact("supplier", "company that delivers", "brand"),
    Fact("spare key holder", "neighbour who can let me in", "person"),
    Fact("parking space", "place to leave the vehicle", "place"),
    Fact("invoice reference", "number of the bill", "code"),
)

COLLECTIONS = (
    Collection("helper", "people who help", "person"),
    Collection("stop", "stops", "place"),
    Collection("part", "parts", "brand"),
    Collection("sponsor", "sponsors", "brand"),
    Collection("guest", "guests", "person"),
    Collection("spare part number", "spare part numbers", "code"),
)

LEADS = (
    "By the way,", "Before I forget,", "It took me a while, but", "Good news:", "You may want to keep this:",
    "After a long morning on the phone,", "Small update from my side:", "One more thing for the list:",
)  # fmt: skip

TAILS = (
    "", "", "That took three calls and a lot of patience.", "My brother thinks it is a bad idea, but he is not asked.",
    "I wrote it on the back of an envelope.", "Everybody else seemed to know already.",
    "It could have been decided a month ago.", "Such a relief, I slept well for once.",
    "Please keep that somewhere safe.", "There was nothing better to be had at short notice.",
    "We shook hands over a pot of tea.", "I nearly lost the piece of paper on the bus.",
)  # fmt: skip

TOLD = (
    "the {fact} for the {thing} is {value}.",
    "for the {thing} I settled on {value} as the {fact}.",
    "{value} is the {fact} for the {thing}.",
    "we agreed that {value} will be the {fact} for the {thing}.",
)

HEARD = (
    "In that case I would put down {value} as the {fact} for the {thing}.",
    "Then my suggestion for the {fact} of the {thing} is {value}.",
    "Having compared them, {value} looks right as the {fact} for the {thing}.",
)

SUGGESTED = (
    "What did you suggest as the {fact} for the {thing}?",
    "Which {fact} did you propose for the {thing}?",
)

CHANGES = (
    "that fell through, so the {fact} for the {thing} is {value} instead.",
    "they had to move things around, and the {fact} for the {thing} is {value}.",
    "scrap what I said, for the {thing} it is {value} as the {fact}.",
    "the {fact} for the {thing} has been replaced: it is {value}.",
)

CHATTER = (
    ("I spent most of the morning on the {thing} and the {noun}.", "How is the {noun} coming along after that?"),
    ("The {noun} of the {thing} keeps me awake.", "Which part of the {noun} worries you most?"),
    ("Do you have an idea how to deal with the {noun}?", "Start small, and look at the {noun} again in a week."),
    ("I still have to think about the {fact} for the {thing}.", "Take your time with the {fact}, nothing is urgent."),
    ("My cousin asked about the {thing} again.", "That is kind. What did you tell your cousin about the {noun}?"),
    (
        "Somebody at work has a {thing} too and never worries about the {fact}.",
        "Everyone handles the {fact} their way.",
    ),
    ("It rained, so the {noun} had to wait.", "Rain gives you time to plan the {noun} properly."),
    (
        "Could you write a short note about the {noun} for me?",
        "Of course. A friendly note about the {noun}, two lines.",
    ),
    ("The {thing} looks better every week.", "Wonderful, the work on the {noun} has paid off."),
    ("I wonder whether we need a {fact} at all for the {thing}.", "Many people manage without a {fact} for a while."),
    ("I read an article about the {noun} last night.", "Interesting. Did it say anything that helps with the {thing}?"),
    ("Remind me to clean the {noun} at some point.", "I will mention the {noun} when we plan the week."),
    ("We laughed a lot about the {noun} today.", "It is good that the {thing} still makes you laugh."),
    ("The forms about the {fact} are confusing.", "Forms about a {fact} often are; read them line by line."),
    ("Can you suggest a colour for the {noun}?", "A deep green would suit the {noun} and hide the dust."),
    ("What should I read next about the {noun}?", "There is a good chapter on the {noun} in most beginners' books."),
    ("Shall we plan the {noun} for Saturday evening?", "Yes, an hour on Saturday is enough for the {noun}."),
    ("Where should we go for a better {noun}?", "The market on the square has the best choice of {noun}."),
    ("Can you recommend a present for somebody who loves a {thing}?", "Something small for the {noun} is never wrong."),
    ("How could I spend less on the {noun}?", "Share the {noun} with a friend and take turns."),
    ("What would you do with an old {noun}?", "Clean it, look whether it still works, and give it away otherwise."),
)

PRAISE = ("Thanks, that helps.", "I see.", "Let me think about it.", "That is all for today.", "Good point.")

ABSTAIN = "There is no information about that in our earlier conversations."

PREFERENCES = (
    Shaped(
        "Can you recommend somewhere to eat on Friday?",
        (
            ("I can't stand coriander, one leaf ruins everything for me", "avoid dishes with coriander"),
            ("sushi makes me happier than anything else", "offer a Japanese place"),
            ("loud music at the table drives me out of the door", "choose a quiet place"),
            ("I have not touched meat since I was nineteen", "choose vegetarian dishes"),
        ),
    ),
    Shaped(
        "What should I read next?",
        (
            ("slow Scandinavian crime is my guilty pleasure", "offer Nordic crime"),
            ("stories with vampires bore me to tears", "leave out vampires"),
            ("anything above three hundred pages stays unfinished on my bedside table", "keep it short"),
            ("letters and diaries of explorers fascinate me", "offer diaries of explorers"),
        ),
    ),
    Shaped(
        "Please suggest a birthday present that I could wish for.",
        (
            ("scented candles give me a headache", "leave out candles"),
            ("I would walk miles for hand-made paper", "offer stationery"),
            ("gadgets end up in my drawer within a month", "leave out electronics"),
            ("fountain pens are the one thing I collect", "offer a fountain pen"),
        ),
    ),
    Shaped(
        "How could I spend my holiday?",
        (
            ("lying on a beach makes me restless after an hour", "leave out beaches"),
            ("night trains are the best beds in the world for me", "travel by night train"),
            ("I love mountains when they are empty", "offer lonely mountains"),
            ("crowded museums wear me out", "avoid crowded museums"),
        ),
    ),
    Shaped(
        "Which music would suit my evening?",
        (
            ("saxophones set my teeth on edge", "leave out saxophones"),
            ("a solo cello calms me like nothing else", "offer cello"),
            ("I only ever enjoy songs in languages that I do not understand", "choose foreign lyrics"),
            ("live recordings with clapping annoy me", "choose studio takes"),
        ),
    ),
    Shaped(
        "What exercise should I take up?",
        (
            ("running in circles feels like a punishment to me", "leave out running"),
            ("cold water wakes me up in the best way", "offer open swimming"),
            ("team games were the horror of my school days", "choose something solitary"),
            ("I enjoy everything that is done to a rhythm", "offer dancing"),
        ),
    ),
)

SHAPED = (
    Shaped(
        "Can you plan my Saturday?",
        (
            ("I broke my left leg on the stairs and wear plaster until June", "plan nothing that needs walking"),
            ("the doctor told me that birch pollen closes my throat", "stay away from trees in bloom"),
            ("my driving licence was taken away for three months", "get there without driving"),
            ("my sister leaves her newborn with me from Friday to Sunday", "bring the baby along"),
        ),
    ),
    Shaped(
        "Which cake should I bake for the office?",
        (
            ("our accountant ended up in hospital after a single walnut", "use no nuts"),
            ("my oven died and the repair takes weeks", "need no oven"),
            ("half of the people at my desk keep halal", "use no gelatine or alcohol"),
            ("the blood test says that my boss has diabetes", "use little sugar"),
        ),
    ),
    Shaped(
        "Where should we go for the anniversary dinner?",
        (
            ("my wife has been in a wheelchair since the accident", "be reachable without steps"),
            ("I was laid off and live on my savings", "be inexpensive"),
            ("she is five months pregnant", "serve nothing raw"),
            ("my hearing aid turns background noise into a roar", "be quiet"),
        ),
    ),
    Shaped(
        "Help me choose a flat.",
        (
            ("heights make my knees shake above the second floor", "be low in the building"),
            ("I practise the drums every evening", "have thick walls"),
            ("both of my cats need to get out", "allow pets and have a way out"),
            ("my night shifts mean that I sleep until four in the afternoon", "be dark and quiet by day"),
        ),
    ),
    Shaped(
        "What shall I wear to the ceremony?",
        (
            ("wool brings my skin out in a rash", "use no wool"),
            ("it takes place in a barn in January", "be warm"),
            ("I cannot tell red from green", "not rely on those colours"),
            ("my shoulder is still in a sling", "go on without raising an arm"),
        ),
    ),
    Shaped(
        "Suggest a present for my nephew.",
        (
            ("he has not spoken since he lost his hearing at two", "work without sound"),
            ("his parents allow nothing with a screen", "have no screen"),
            ("they live on a houseboat with no room to spare", "be small"),
            ("he swallows everything that fits into his mouth", "have no small parts"),
        ),
    ),
)
