"""Everyday remarks of four to eleven words, for corpora where the words do not matter."""

from __future__ import annotations

from numpy.random import RandomState

TEMPLATES = (
    "{who} told me about the {matter} {when}",
    "i put the {matter} {where}",
    "you said that {who} would bring the {matter}",
    "we talked about the {matter} and the {other_matter}",
    "{who} came home with the {matter} {when}",
    "they want to see the {matter} {where}",
    "have you heard what {who} said about the {matter}",
    "it was {who} who left the {matter} {where}",
    "i will ask {who} for the {matter} {when}",
    "somebody moved the {matter} {where}",
    "{when} i found {who} with the {matter}",
    "the {matter} is still {where}",
    "you know that {who} has the {matter}",
    "we can leave the {matter} with {who} {when}",
    "so the {matter} came {when} and the {other_matter} did not",
)
WORDS: dict[str, tuple[str, ...]] = {
    "who": (
        "the doctor",
        "my brother",
        "her cousin",
        "the lawyer",
        "our neighbour",
        "your aunt",
        "the driver",
        "his manager",
        "the landlord",
        "my old teacher",
        "their daughter",
        "the visitor",
    ),
    "matter": (
        "letter",
        "money",
        "car keys",
        "wedding",
        "meeting",
        "contract",
        "photographs",
        "new job",
        "parcel",
        "telephone",
        "medicine",
        "train tickets",
        "suitcase",
        "old house",
        "computer",
        "birthday cake",
    ),
    "other_matter": ("answer", "bill", "newspaper", "passport", "piano", "present", "report", "uniform"),
    "where": (
        "in the hall",
        "on the kitchen table",
        "by the front door",
        "at the office",
        "in the other room",
        "behind the counter",
        "at the station",
        "upstairs",
    ),
    "when": (
        "last night",
        "this morning",
        "on friday",
        "an hour ago",
        "before lunch",
        "a week ago",
        "after the game",
        "on the way here",
    ),
}


def draw_remarks(number: int, random: RandomState, said: set[str]) -> list[str]:
    """Draw remarks that are not in ``said`` yet, and add them to it."""
    remarks: list[str] = []
    while len(remarks) < number:
        template = TEMPLATES[random.randint(len(TEMPLATES))]
        remark = template.format(**{slot: words[random.randint(len(words))] for slot, words in WORDS.items()})
        if remark not in said:
            said.add(remark)
            remarks.append(remark)
    return remarks
