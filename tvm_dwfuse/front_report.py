"""A Pareto front as a table for people."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .choice import Costs, Front, Option
from .report import text_table

#: Plans that the table shows; of more, some of those that are alike are left out.
MOST_ROWS = 40


def front_report(
    name: str,
    front: Front,
    header: Sequence[str],
    row: Callable[[Costs, Sequence[Sequence[Option]]], Sequence[str]],
    note: str,
) -> str:
    """The front of the network ``name``, a row a plan, the fastest first.

    Args:
        name: of the network.
        front: the plans.
        header: of the columns.
        row: the cells of a plan.
        note: where costs come from.
    """
    shown = front.thinned(MOST_ROWS)
    lines = [
        f"{name}: {len(front.points)} plans none of which is as good as another in everything",
        text_table(header, [row(costs, covers) for costs, covers in shown.points]),
        note,
    ]
    if len(shown.points) < len(front.points):
        percent = 100 * (shown.factor / front.factor - 1)
        lines.append(f"{len(shown.points)} are shown; each of the others has one of these within {percent:.1f}%")
    if not front.exact:
        lines.append(f"there were too many to keep: whatever is missing is at most {front.factor:.3f} times as good")
    return "\n".join(lines)
