"""Made-up tasks that ask for one ability each: tokens in, answers out.

Everything is drawn from the generator that is given, on its device, so the same one gives the
same tokens on every machine of its kind.

A `Task` gives tokens and, beside each, the token that should come next, or `UNSCORED` where
nothing is asked: one `loss` and one `accuracy` serve all of them, and one model of the task's
vocabulary. `selective_copying` and `registers` give questions and the numbers of their answers.
"""

from minimamba.course.tasks.copying import Copying, SelectiveCopying
from minimamba.course.tasks.parity import Parity
from minimamba.course.tasks.questions import Questions, registers, selective_copying
from minimamba.course.tasks.recall import AssociativeRecall, InductionHeads, PhoneBook
from minimamba.course.tasks.task import UNSCORED, Examples, Task, accuracy, loss

__all__ = ["UNSCORED", "AssociativeRecall", "Copying", "Examples", "InductionHeads", "Parity",
           "PhoneBook", "Questions", "SelectiveCopying", "Task", "accuracy", "loss", "registers",
           "selective_copying"]
