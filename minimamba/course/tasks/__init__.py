"""Synthetic tasks, each of which needs one ability, for any model that maps tokens to logits.

A `Task` samples token sequences and, beside each token, the token that should come next, or
`UNSCORED` where any will do. So one `loss`, one `accuracy` and one `MambaLM` of the task's
`vocab_size` serve all of them:

    task = SelectiveCopying(length=64, n_data=4, n_symbols=8)
    model = MambaLM(MambaConfig(vocab_size=task.vocab_size, d_model=32, layers="66"))
    tokens, targets = task.sample(32, torch.Generator().manual_seed(0))
    loss(model(tokens), targets).backward()
"""

from minimamba.course.tasks.copying import Copying, SelectiveCopying
from minimamba.course.tasks.parity import Parity
from minimamba.course.tasks.recall import AssociativeRecall, InductionHeads, PhoneBook
from minimamba.course.tasks.registers import Registers
from minimamba.course.tasks.task import UNSCORED, Examples, Task, accuracy, loss

__all__ = ["UNSCORED", "AssociativeRecall", "Copying", "Examples", "InductionHeads", "Parity",
           "PhoneBook", "Registers", "SelectiveCopying", "Task", "accuracy", "loss"]
