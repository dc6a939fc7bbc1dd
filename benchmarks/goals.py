"""What was measured beside what is asked for: a line for each goal, with a verdict."""

from __future__ import annotations

from dataclasses import dataclass, field
from operator import ge, le


@dataclass
class Goal:
    what: str
    value: float
    sign: str  # ">=" or "<="
    limit: float
    reached: bool


@dataclass
class Goals:
    """A table of goals; shown and stored as the other tables are.

    With a `note` its lines are no goals of the area: they are compared and counted apart.
    """

    title: str
    goals: list[Goal] = field(default_factory=list)
    note: str = ""

    def at_least(self, what: str, value: float, limit: float) -> None:
        self._add(what, value, ">=", limit, reached=ge(value, limit))

    def at_most(self, what: str, value: float, limit: float) -> None:
        self._add(what, value, "<=", limit, reached=le(value, limit))

    def _add(self, what: str, value: float, sign: str, limit: float, *, reached: bool) -> None:
        self.goals.append(Goal(what, value, sign, limit, reached))

    def show(self) -> None:
        reached = sum(goal.reached for goal in self.goals)
        kind = "lines within" if self.note else "goals reached"
        print(f"\n{self.title}: {reached} of {len(self.goals)} {kind}")
        for goal in self.goals:
            verdict = "reached" if goal.reached else "MISSED"
            print(f"  {goal.what:62} {goal.value:10.4g}  {goal.sign} {goal.limit:<8g} {verdict}")
