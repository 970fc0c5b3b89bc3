"""Near misses: nearly the same words that mean something else. The teacher scores them like any other text.

For the query `who wrote dracula` and the passage `dracula was written by stoker in 1897` they are, as token ids,

    dracula was not written by stoker in 1897      this page is not about who wrote dracula.
    dracula was written by stoker in 1924          who wrote dracula
    stoker was written by dracula in 1897
"""

import re

import numpy as np
from tokenizers import Tokenizer

from training.corpus import Ids

VERBS = "is are was were can could will would should must may might has have had does did".split()  # noqa: SIM905
STOP = (  # noqa: SIM905 - keywords go without these
    "a an and are as at be by can could did do does for from had has have how i if in into is it its me my of on or"
    " that the their them there they this to was we were what when where which who whom whose why will with would you"
    " your many much ' s ? , . ; : ( ) \" -"
).split()
UNRELATED = "this page is not about {}.|{} is not covered here.|see elsewhere for {}.|this is not related to {}."


class NearMisses:
    """Makes them with the vocabulary of one tokenizer."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        vocabulary = tokenizer.get_vocab()
        names = sorted(vocabulary, key=vocabulary.__getitem__)
        self.stop, self.verb = np.isin(names, STOP), np.isin(names, VERBS)
        self.no, self.question_mark = vocabulary["not"], vocabulary["?"]
        shapes = [re.sub(r"\d", "0", name) if re.fullmatch(r"(##)?\d+", name) else "" for name in names]
        self.shapes = np.array(shapes)  # of numbers and parts of numbers, such as 0000 and ##00
        self.numbers = {shape: np.flatnonzero(self.shapes == shape) for shape in set(shapes) if shape}
        parts = [form.split("{}") for form in UNRELATED.split("|")]
        self.forms = [[tokenizer.encode(part, add_special_tokens=False).ids for part in two] for two in parts]

    def keywords(self, query: Ids) -> Ids:
        """Return the query without function words, or as it is if less than two tokens are left."""
        kept = query[~self.stop[query]]
        return kept if len(kept) >= 2 else query

    def of_query(self, rng: np.random.Generator, query: Ids) -> Ids:
        """Return a sentence that names the query to say that it is about something else, or the query itself."""
        before, after = self.forms[rng.integers(len(self.forms))]
        about = query[query != self.question_mark] if rng.random() < 0.5 else self.keywords(query)
        return query if rng.random() < 0.3 else np.array([*before, *about, *after], np.uint16)

    def of_passage(self, rng: np.random.Generator, passage: Ids) -> Ids:
        """Negate, or change the numbers, or let two words change places: what the passage has words for."""
        verbs, numbers = np.flatnonzero(self.verb[passage]), np.flatnonzero(self.shapes[passage] != "")
        words = np.flatnonzero(~self.stop[passage])
        kind, changed = rng.random(), passage.copy()
        if kind < 0.4 and len(verbs):
            after = rng.choice(verbs) + 1
            negative = passage[after : after + 1] == self.no
            return np.delete(passage, after) if negative.any() else np.insert(passage, after, self.no)
        if kind < 0.75 and len(numbers):
            changed[numbers] = [rng.choice(self.numbers[shape]) for shape in self.shapes[passage[numbers]]]
        elif len(words) >= 2:
            first = int(rng.integers(len(words) - 1))
            two = words[[first, min(len(words) - 1, first + int(rng.integers(1, 8)))]]
            changed[two] = passage[two[::-1]]
        return changed
