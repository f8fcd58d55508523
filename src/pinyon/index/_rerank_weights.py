"""What the second look has learned of questions with known evidence.

Made by ``benchmarks/retrieval.py --only rerank`` from six conversations of LoCoMo; the same command prints what weights
that never saw a conversation find in it. They are numbers about features, and hold no word of any conversation.
"""

__all__ = ["OFFSET", "WEIGHTS"]

OFFSET = 0.143
"""Brings the scores of the second look to those of the first sum, so that turns and chunks can be compared."""

WEIGHTS: tuple[tuple[str, float], ...] = (
    ("turn", 0.412),
    ("window1", 0.400),
    ("window2", 0.787),
    ("section", 0.397),
    ("speaker", 0.112),
    ("spoken_to", 0.027),
    ("answered", 0.025),
    ("question", 0.022),
    ("topic", 0.081),
    ("near_question", 0.050),
    ("near_topic", -0.004),
    ("wide_question", 0.050),
    ("wide_topic", -0.004),
    ("near_feedback", 0.038),
    ("alike", -0.033),
    ("asks", 0.023),
    ("ends_asking", -0.045),
    ("first_person", -0.026),
    ("second_person", -0.022),
    ("exclaims", -0.019),
    ("capitals", 0.122),
    ("length", -0.038),
    ("prompted", 0.079),
    ("begins", 0.073),
    ("wanted_time", 0.232),
    ("wanted_number", 0.112),
    ("moment", 0.245),
    ("speaker_length", 0.236),
    ("speaker_asks", -0.021),
    ("speaker_first_person", 0.053),
    ("judged_window1", -0.945),
    ("judged_speaker", -0.008),
    ("judged_first_person", 0.081),
    ("judged_length", 0.058),
    ("judged_prompted", -0.051),
)
"""By name of a feature, on the scale of the first sum."""
