"""Words of the conversations that the state benchmark holds; all of them were written for it."""

from __future__ import annotations

__all__ = ["FILLERS", "GROCERIES"]

GROCERIES = (
    "almonds", "apricots", "asparagus", "avocados", "bananas", "barley", "basil", "beetroot", "blueberries", "broccoli",
    "buttermilk", "cabbage", "carrots", "cashews", "celery", "cheddar", "cherries", "chestnuts", "cinnamon", "coconut",
    "cranberries", "cucumbers", "eggplant", "garlic", "ginger", "grapefruit", "hazelnuts", "honey", "ketchup", "leeks",
    "lentils", "mackerel", "mangoes", "marmalade", "mushrooms", "mustard", "noodles", "oatmeal", "olives", "paprika",
    "parsley", "peanuts", "pistachios", "pumpkin", "radishes", "raspberries", "rosemary", "salmon", "spinach", "tofu",
    "turnips", "vanilla", "yoghurt", "zucchini",
)  # fmt: skip

FILLERS: tuple[tuple[str, str], ...] = (
    # question with its choices, answer
    ("Where would you put a letter so that it is carried to a friend abroad? (A) oven (B) mailbox (C) pond", "(B)"),
    ("What do people usually open when it begins to rain? (A) an umbrella (B) a tin (C) a debate", "(A)"),
    ("Which animal is kept on a farm for its wool? (A) the goose (B) the trout (C) the sheep", "(C)"),
    ("What must a driver do when the light turns red? (A) sing (B) stop (C) accelerate", "(B)"),
    ("Where does a librarian spend most of a working day? (A) among shelves (B) in a mine (C) at sea", "(A)"),
    ("What happens to a puddle on a freezing winter night? (A) it boils (B) it glows (C) it turns to ice", "(C)"),
    ("Which tool would a carpenter choose to drive in a nail? (A) a hammer (B) a ladle (C) a ruler", "(A)"),
    ("What does a tired child need late in the evening? (A) a loan (B) sleep (C) a lecture", "(B)"),
    ("Where do you look if you want to know the time? (A) at a clock (B) in a shoe (C) under a bridge", "(A)"),
    ("What do bees bring back to their hive? (A) gravel (B) coins (C) nectar", "(C)"),
    ("Which of these would a plumber be called to repair? (A) a sonnet (B) a leaking pipe (C) a treaty", "(B)"),
    ("What is the first thing to do before crossing a busy street? (A) look both ways (B) nap (C) paint", "(A)"),
    ("Where would an astronomer go to watch the stars? (A) a cellar (B) a bakery (C) an observatory", "(C)"),
    ("What would you use to see something very small? (A) a magnet (B) a microscope (C) a whistle", "(B)"),
    ("Which season follows the winter in most of Europe? (A) spring (B) autumn (C) none at all", "(A)"),
    ("What does a violinist draw across the strings? (A) a broom (B) a ladder (C) a bow", "(C)"),
    ("Where do travellers wait for a train to arrive? (A) on a roof (B) on a platform (C) in a drawer", "(B)"),
    ("What keeps a ship from drifting away at night? (A) its anchor (B) its menu (C) its paint", "(A)"),
    ("Which job is done by somebody who flies an aeroplane? (A) baker (B) tailor (C) pilot", "(C)"),
    ("What would you light if the power failed at home? (A) a carpet (B) a candle (C) a spoon", "(B)"),
)
