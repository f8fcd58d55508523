"""Invented facts that no model can know, each with the question and the words that answer it."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import BadInput

__all__ = ["CHECK_FACTS", "FIND_FACTS", "HELD_FACTS", "NeedleFact"]


@dataclass(frozen=True, slots=True)
class NeedleFact:
    """A fact to hide in a long text.

    Args:
        told: One sentence that holds the answer word for word.
        question: What is asked; it does not hold the answer.
        answer: The words of the sentence that answer it.
    """

    told: str
    question: str
    answer: str

    def __post_init__(self) -> None:
        if not self.answer.strip() or self.answer not in self.told:
            raise BadInput(f"the answer {self.answer!r} is not a part of {self.told!r}")
        if self.answer.lower() in self.question.lower():
            raise BadInput(f"the question {self.question!r} tells its own answer")


FIND_FACTS: tuple[NeedleFact, ...] = tuple(
    NeedleFact(*fact)
    for fact in (
        ("The secret ingredient of Marta's soup is roasted fennel seed.",
         "What is the secret ingredient of Marta's soup?", "roasted fennel seed"),
        ("The best thing to do in Sandford is to feed the grey ducks behind the mill.",
         "What is the best thing to do in Sandford?", "feed the grey ducks behind the mill"),
        ("The lighthouse keeper of Orlen keeps a tame otter in the kitchen.",
         "What does the lighthouse keeper of Orlen keep?", "a tame otter in the kitchen"),
        ("The spare key of the cottage hangs under the copper watering can.",
         "Where does the spare key of the cottage hang?", "under the copper watering can"),
        ("The name of the captain's ship is the Wandering Heron.",
         "What is the name of the captain's ship?", "the Wandering Heron"),
        ("The mayor of Tilbrook paints small wooden birds every morning.",
         "What does the mayor of Tilbrook paint?", "small wooden birds"),
        ("The favourite drink of Professor Lindqvist is cold nettle tea with honey.",
         "What is the favourite drink of Professor Lindqvist?", "cold nettle tea with honey"),
        ("The winner of the village race received a basket of yellow plums.",
         "What did the winner of the village race receive?", "a basket of yellow plums"),
        ("Mr Green is disliked by his neighbours because he plays the trumpet at night.",
         "Why is Mr Green disliked by his neighbours?", "he plays the trumpet at night"),
        ("The treasure of the abbey is buried beneath the crooked pear tree.",
         "Where is the treasure of the abbey buried?", "beneath the crooked pear tree"),
        ("The old clock in the station is wound by a retired circus dancer.",
         "Who winds the old clock in the station?", "a retired circus dancer"),
        ("The tailor of Kessel sews his coats with silver fishing line.",
         "With what does the tailor of Kessel sew his coats?", "silver fishing line"),
        ("The password of the reading club is purple umbrella.",
         "What is the password of the reading club?", "purple umbrella"),
        ("The first train to Norwick carries sacks of dried mushrooms.",
         "What does the first train to Norwick carry?", "sacks of dried mushrooms"),
        ("The statue in the garden of Velden shows a sleeping shepherd with a fox.",
         "What does the statue in the garden of Velden show?", "a sleeping shepherd with a fox"),
        ("The grandmother of Ivo hides her letters inside a broken violin.",
         "Where does the grandmother of Ivo hide her letters?", "inside a broken violin"),
        ("The colour of the queen's new carriage is pale green with white stripes.",
         "What is the colour of the queen's new carriage?", "pale green with white stripes"),
        ("The baker of Harlow sells bread that is baked with chestnut flour.",
         "With what is the bread of the baker of Harlow baked?", "chestnut flour"),
        ("The prize of the chess evening was a jar of pickled lemons.",
         "What was the prize of the chess evening?", "a jar of pickled lemons"),
        ("The gardener of the castle speaks to the tulips in Portuguese.",
         "To whom does the gardener of the castle speak?", "the tulips in Portuguese"),
    )
)  # fmt: skip
"""For finding heads."""

CHECK_FACTS: tuple[NeedleFact, ...] = tuple(
    NeedleFact(*fact)
    for fact in (
        ("The hobby of the bishop of Arden is repairing broken accordions.",
         "What is the hobby of the bishop of Arden?", "repairing broken accordions"),
        ("The cheapest way to cross the lake at Morven is to borrow the ferryman's canoe.",
         "What is the cheapest way to cross the lake at Morven?", "borrow the ferryman's canoe"),
        ("The doctor of Pellworm travels to her patients on a white donkey.",
         "How does the doctor of Pellworm travel to her patients?", "on a white donkey"),
        ("The letter from the admiral was found behind the kitchen mirror.",
         "Where was the letter from the admiral found?", "behind the kitchen mirror"),
        ("The name of the hotel near the quarry is the Golden Pelican.",
         "What is the name of the hotel near the quarry?", "the Golden Pelican"),
        ("The children of Brackwater collect empty snail shells.",
         "What do the children of Brackwater collect?", "empty snail shells"),
        ("The favourite meal of Inspector Rowe is smoked trout with horseradish.",
         "What is the favourite meal of Inspector Rowe?", "smoked trout with horseradish"),
        ("The guests of the wedding were given tiny bottles of cherry vinegar.",
         "What were the guests of the wedding given?", "tiny bottles of cherry vinegar"),
        ("The bridge at Lomas was closed because a family of storks nested on it.",
         "Why was the bridge at Lomas closed?", "a family of storks nested on it"),
        ("The map of the caves is kept inside the hollow drum.",
         "Where is the map of the caves kept?", "inside the hollow drum"),
        ("The school bell of Ferrin is rung by the blind watchmaker.",
         "Who rings the school bell of Ferrin?", "the blind watchmaker"),
        ("The fishermen of Skarvik mend their nets with red wool.",
         "With what do the fishermen of Skarvik mend their nets?", "red wool"),
        ("The password of the night porter is frozen marigold.",
         "What is the password of the night porter?", "frozen marigold"),
        ("The last wagon of the circus carries a barrel of blue ink.",
         "What does the last wagon of the circus carry?", "a barrel of blue ink"),
        ("The painting above the fireplace shows two monks with a wheelbarrow.",
         "What does the painting above the fireplace show?", "two monks with a wheelbarrow"),
        ("The uncle of Petra buried his medals beside the rusty tractor.",
         "Where did the uncle of Petra bury his medals?", "beside the rusty tractor"),
        ("The colour of the new fire engine is bright orange with black wheels.",
         "What is the colour of the new fire engine?", "bright orange with black wheels"),
        ("The candles of the chapel are made of wild rosemary wax.",
         "Of what are the candles of the chapel made?", "wild rosemary wax"),
        ("The reward for the lost parrot is a sack of walnuts.",
         "What is the reward for the lost parrot?", "a sack of walnuts"),
        ("The librarian of Oslund reads fairy tales to the goats.",
         "What does the librarian of Oslund read?", "fairy tales to the goats"),
        ("The dream of the young carpenter is to build a floating theatre.",
         "What is the dream of the young carpenter?", "build a floating theatre"),
        ("The best season to visit the valley of Emmen is the week of the lantern festival.",
         "What is the best season to visit the valley of Emmen?", "the week of the lantern festival"),
        ("The motto of the rowing club is slow oars win races.",
         "What is the motto of the rowing club?", "slow oars win races"),
        ("The smell in the attic came from a trunk of old saffron.",
         "Where did the smell in the attic come from?", "a trunk of old saffron"),
    )
)  # fmt: skip
"""For checking what was found; none of them is among `FIND_FACTS`."""

HELD_FACTS: tuple[NeedleFact, ...] = tuple(
    NeedleFact(*fact)
    for fact in (
        ("The gardener of Brenholt waters her roses with cold black coffee.",
         "With what does the gardener of Brenholt water her roses?", "cold black coffee"),
        ("The seal of the mountain kingdom shows a crowned hedgehog.",
         "What does the seal of the mountain kingdom show?", "a crowned hedgehog"),
        ("The judge of Varmouth hides his letters inside a stuffed badger.",
         "Where does the judge of Varmouth hide his letters?", "inside a stuffed badger"),
        ("The secret of the baker's bread is toasted barley flour.",
         "What is the secret of the baker's bread?", "toasted barley flour"),
        ("The name of the ferryman's dog is Admiral Biscuit.",
         "What is the name of the ferryman's dog?", "Admiral Biscuit"),
        ("The statue in the market square holds a bronze teapot.",
         "What does the statue in the market square hold?", "a bronze teapot"),
        ("The meeting of the beekeepers takes place behind the old ice house.",
         "Where does the meeting of the beekeepers take place?", "behind the old ice house"),
        ("The violin of Mrs Halloran was made from the mast of a whaling ship.",
         "From what was the violin of Mrs Halloran made?", "the mast of a whaling ship"),
        ("The favourite game of the twins is throwing chestnuts into a bucket.",
         "What is the favourite game of the twins?", "throwing chestnuts into a bucket"),
        ("The watchman of the quarry sleeps in a yellow railway carriage.",
         "Where does the watchman of the quarry sleep?", "a yellow railway carriage"),
        ("The gift for the ambassador was a pair of glass slippers.",
         "What was the gift for the ambassador?", "a pair of glass slippers"),
        ("The roof of the boat house is covered with flattened oil drums.",
         "With what is the roof of the boat house covered?", "flattened oil drums"),
        ("The password of the mountain hut is sleeping walrus.",
         "What is the password of the mountain hut?", "sleeping walrus"),
        ("The doctor of Aldersby collects broken weather vanes.",
         "What does the doctor of Aldersby collect?", "broken weather vanes"),
        ("The bridge over the Silde is guarded by a one-eyed goose.",
         "Who guards the bridge over the Silde?", "a one-eyed goose"),
        ("The map of the smugglers is drawn on the back of a drum.",
         "Where is the map of the smugglers drawn?", "on the back of a drum"),
    )
)  # fmt: skip
"""For measuring what was chosen with the others in view; nothing was ever decided by these."""
