"""Lists in the cells of a log: one element a rollout, a token or a reward function, and what to do about each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kvar.readers.cell_paths import NestedFile, parse_path, paths_to
from kvar.readers.cells import as_list, as_value, is_message
from kvar.readers.columns import NAMES, ColumnMap, guess, terms
from kvar.readers.exploded import ExplodedFile
from kvar.readers.layouts import LAYOUTS
from kvar.readers.table_file import MISSING, TableFile, UnreadableError

__all__ = ["check_cells", "nested_places", "shaped"]

# Columns with the answer of one rollout.
_ANSWERS = (
    "completion",
    "response",
    "output",
    "generation",
    "answer",
    "output_response",
    "response_text",
    "text",
    "sample",
)
# Words in the names of lists that belong to the parts of one rollout.
_PARTS = ("token", "turn", "name", "func", "tool", "step", "message", "label", "segment")
# A list with more elements than this is of tokens: there are no more reward functions.
_MOST_FUNCTIONS = 16


def shaped(table: TableFile, layout: str, chosen: Mapping[str, str]) -> TableFile:
    """The file with a column for each path that is asked for, and a row for each rollout."""
    columns = {**LAYOUTS[layout].columns, **chosen}
    wanted = [term for column in columns.values() if column for term in terms(column, table.columns)]
    paths = [parse_path(term, table.columns) for term in wanted if term not in table.columns]
    found = [path for path in dict.fromkeys(paths) if path is not None]
    if found:
        table = NestedFile(table, found)
    step = columns["step"] if "step" in columns else guess("step", table.columns)
    reward = columns.get("reward") or guess("reward", table.columns) or ""
    keys = [name for name in (step, *terms(reward, table.columns)) if name in table.columns]
    each = [path.text for path in found if path.is_list]
    if not each and all(name in table.numeric for name in keys):
        return table
    sample = table.head(table.columns)
    lists = {name: values for name, cells in sample.items() if (values := _all_lists(cells))}
    guide = next((name for name in [*each, step, *keys] if name in lists), None)
    if guide is None:
        return table
    together = [name for name, cells in lists.items() if list(map(len, cells)) == list(map(len, lists[guide]))]
    prompt = columns.get("prompt") or guess("prompt", table.columns)
    told = True if guide in each or guide == step else _per_rollout(guide, together, lists, sample, step, prompt)
    if told is not False:
        if guide != step and prompt in together and _is_tokens(lists[prompt]):
            together.remove(prompt)
        return ExplodedFile(table, together, sample, told is not None)
    return table


def check_cells(table: TableFile, column_map: ColumnMap, chosen: Mapping[str, str]) -> None:
    """Refuse rewards that are no numbers and prompts that hold the answer, and say how to take what is meant."""
    for name, cells in _head(table, [name for name in column_map.rewards if name not in table.numeric]).items():
        values = [as_value(cell) for cell in cells]
        # A path begins in the file, where the cell is an element of a list.
        name += "[]" if name in table.exploded and not name.endswith("[]") else ""
        lists, objects = _all_lists(values), [value for value in values if isinstance(value, dict)]
        if lists and max(map(len, lists)) > 1:
            raise ValueError(f"{name} holds a list in each row{_choice(name, list(map(len, lists)))}")
        if objects and len(objects) == len(values):
            keys = list(dict.fromkeys(key for value in objects for key in value))
            raise ValueError(
                f"{name} holds an object in each row, with the keys {', '.join(keys[:20])}: choose one, as in "
                f"--columns 'reward={name}.{keys[0] if keys else 'KEY'}'"
            )
    if "prompt" not in chosen:
        _check_first_message(table, column_map)
    # Where the answer has a column of its own, a prompt may end with the beginning of one.
    answered = any(_called_like(_ANSWERS, name) for name in table.columns)
    for name, cells in _head(table, [] if answered else [column_map.prompt]).items():
        if cells and all(_holds_answer(as_list(cell) or []) for cell in cells):
            first = _first_of_user(as_list(cells[0]) or [])
            raise ValueError(
                f"{name} holds the answer too, so that every rollout would have a prompt of its own: choose the part "
                f"that is the prompt, as in --columns 'prompt={name}{first}'"
            )


def _check_first_message(table: TableFile, column_map: ColumnMap) -> None:
    """Refuse the first of several messages as the prompt of a layout where it is the same in all rows."""
    name, path = column_map.prompt, parse_path(column_map.prompt, [c for c in table.columns if c != column_map.prompt])
    if path is None or name != LAYOUTS[column_map.layout].columns.get("prompt") or path.steps[-1:] != (0,):
        return
    outer = name.removesuffix("[0]")
    around = parse_path(outer, [path.head])
    conversations = [around.value(cell) for cell in table.head([path.head])[path.head]] if around else []
    firsts = {str(messages[0]) for messages in conversations if isinstance(messages, list) and len(messages) > 2}
    if len(conversations) > 1 and len(firsts) == 1:
        raise ValueError(
            f"{name} is the same in all rows, as an instruction to the system is: choose the message that is the "
            f"prompt, as in --columns 'prompt={outer}[1]', or if there is one prompt only, 'prompt={name}'"
        )


def nested_places(table: TableFile, missing: Sequence[str]) -> str:
    """A sentence on values inside of cells that may be what no column is, or nothing."""
    try:
        sample = table.head(table.columns)
    except UnreadableError:  # a column that nobody asked for may be damaged
        return ""
    inside = {name: paths_to(NAMES[name], sample) for name in missing}
    if not (found := {name: paths[0] for name, paths in inside.items() if paths}):
        return ""
    return f". Inside of cells there is more: --columns '{','.join(f'{n}={path}' for n, path in found.items())}'"


def _head(table: TableFile, names: list[str]) -> dict[str, list]:
    """Cells of the first rows that hold something."""
    cells = table.head(names) if names and not set(names) <= set(table.numeric) else {}
    return {name: [c for c in found if c is not None and c is not MISSING] for name, found in cells.items()}


def _holds_answer(prompt: list) -> bool:
    """Whether a conversation ends with an answer, or several texts stand where the prompt should."""
    while len(prompt) == 1 and isinstance(prompt[0], list):
        prompt = prompt[0]
    if prompt and all(map(is_message, prompt)):
        return prompt[-1].get("role") == "assistant"
    return len(prompt) > 1 and all(isinstance(part, str) for part in prompt)


def _first_of_user(prompt: list) -> str:
    """Path to the first message of the user, or to the first text."""
    outer = ""
    while len(prompt) == 1 and isinstance(prompt[0], list):
        prompt, outer = prompt[0], outer + "[0]"
    users = [k for k, part in enumerate(prompt) if is_message(part) and part.get("role") == "user"]
    return f"{outer}[{users[0] if users else 0}]"


def _choice(name: str, lengths: list[int]) -> str:
    shortest, longest = min(lengths), max(lengths)
    last = f"--columns 'reward={name}[-1]' takes the last, 'reward=sum({name})' the sum"
    if shortest == longest <= _MOST_FUNCTIONS:
        parts = "+".join(f"{name}[{k}]" for k in range(min(longest, 3)))
        return (
            f", of {longest} numbers, perhaps one for each reward function or turn: --columns 'reward={parts}' adds "
            f"those that count, with weights if need be; {last}. If they belong to {longest} rollouts, take each: "
            f"'reward={name}[]'"
        )
    return (
        f", of {shortest} to {longest} numbers, perhaps one for each token: {last}. If they belong to as many "
        f"rollouts, take each: 'reward={name}[]'"
    )


def _all_lists(cells: Sequence) -> list[list] | None:
    """The lists in all cells that hold something, if these are lists and none is a conversation."""
    values = [as_list(cell) for cell in cells if cell is not None and cell is not MISSING]
    if not values or any(value is None or any(map(is_message, value)) for value in values):
        return None
    return values if any(values) else None  # type: ignore[return-value]


def _per_rollout(
    name: str,
    together: list[str],
    lists: dict[str, list[list]],
    sample: dict[str, list],
    step: str | None,
    prompt: str | None,
) -> bool | None:
    """Whether lists of rewards have an element for each rollout of a prompt; None if nothing speaks against it."""
    if max(map(len, lists[name])) < 2:
        return False
    if any(_called_like(_ANSWERS, other) and _is_answers(lists[other]) for other in together if other != name):
        return True
    if any(_is_text(sample[other]) for other in sample if _called_like(_ANSWERS, other) and other != prompt):
        return False
    # Rows that share prompt and step are rollouts themselves, and lists of texts beside them name tokens or functions.
    rows = list(zip(*(map(str, sample[key]) for key in (step, prompt) if key in sample), strict=True))
    if len(set(rows)) < len(rows) or any(_is_parts(other, lists[other]) for other in together):
        return False
    # So are rows whose lists differ much in length, and those in which only the last element is ever rewarded.
    lengths = list(map(len, lists[name]))
    last_only = not any(element for cell in lists[name] for element in cell[:-1])
    return None if max(lengths) <= 2 * min(lengths) and not last_only else False


def _called_like(names: Sequence[str], column: str) -> bool:
    """Whether a column has one of some names, also in the plural."""
    return column.lower() in names or column.lower().removesuffix("s") in names


def _is_parts(column: str, cells: list[list]) -> bool:
    """Whether lists of texts are of the parts of one rollout: by their name, or since they are the same in all rows."""
    same = len(cells) > 1 and all(cell == cells[0] for cell in cells)
    return _is_answers(cells) and (same or any(word in column.lower() for word in _PARTS))


def _is_answers(cells: list[list]) -> bool:
    return any(
        isinstance(element, (str, dict)) or (isinstance(element, list) and any(map(is_message, element)))
        for cell in cells
        for element in cell
    )


def _is_text(cells: list) -> bool:
    return any(
        (isinstance(cell, str) and as_list(cell) is None) or any(map(is_message, as_list(cell) or [])) for cell in cells
    )


def _is_tokens(cells: list[list]) -> bool:
    return all(isinstance(element, int) for cell in cells for element in cell)
