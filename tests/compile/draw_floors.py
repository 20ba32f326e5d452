#!/usr/bin/env python3
"""Draws the floors of the library, and what includes what, from what check_includes.cmake has found.

    draw_floors.py EDGES > docs/architecture/floors.svg     makes the picture
    draw_floors.py EDGES --check docs/architecture/floors.svg     fails where the picture is not the one of these headers

A room is a floor: how many headers it has, and the median of their lines. An arrow is what a floor includes of another one: how many
includes, and thicker the more they are. An arrow that pointed up would be red.
"""

import collections
import pathlib
import statistics
import sys

# Each floor's place: column, row from the bottom, columns wide. What stands on what is check_includes.cmake's business.
PLACES = {
    "ground": (0, 0, 4),
    "bytes": (0, 1, 4),
    "codec": (0, 2, 2),
    "storage": (2, 2, 2),
    "snapshot": (0, 3, 4),
    "wal": (0, 4, 3),
    "salvage": (0, 5, 3),
    "face": (0, 6, 3),
    "index": (3, 6, 1),
    "testing": (0, 7, 3),
}
ROWS = 8
COLUMN, ROW, ROOM, LEFT, TOP = 250, 92, 52, 20, 50


def read(path: pathlib.Path):
    lines = collections.defaultdict(dict)
    includes = collections.Counter()
    for line in path.read_text().splitlines():
        words = line.split()
        if words[2] == ">":
            if words[0] != words[3]:
                includes[words[0], words[3]] += 1
        else:
            lines[words[0]][words[1]] = int(words[2])
    return lines, includes


def box(floor: str) -> tuple[float, float, float]:
    """Left, top, width."""
    column, row, columns = PLACES[floor]
    return LEFT + column * COLUMN, TOP + (ROWS - 1 - row) * ROW, columns * COLUMN - 20


def crossing(upper: str, lower: str, place: int, places: int, least: float) -> float:
    """Where the arrow between two floors is, from left to right: spread out over the lower one, but below the upper
    one, and not left of `least` where it has the room."""
    left, _, width = box(upper)
    lower_left, _, lower_width = box(lower)
    begin, end = max(left, lower_left) + 15, min(left + width, lower_left + lower_width) - 75
    return min(max(lower_left + lower_width * (place + 0.5) / places, begin, least), end)


def draw(lines, includes) -> str:
    width, height = LEFT + 4 * COLUMN, TOP + ROWS * ROW
    every = [count for floor in lines.values() for count in floor.values()]
    upwards = [pair for pair in includes if PLACES[pair[0]][1] <= PLACES[pair[1]][1]]
    title = (f"{len(every)} headers, median {statistics.median(every):.0f} lines, at most {max(every)}; "
             f"{sum(includes.values())} includes between floors, {sum(includes[pair] for pair in upwards)} of them upwards")
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" font-size="13">',
           f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
           f'<text x="{LEFT}" y="28" fill="#333333">{title}</text>']
    arrows = []  # behind the rooms
    below = collections.defaultdict(list)
    for pair in sorted(includes, key=lambda pair: (PLACES[pair[0]][0], -PLACES[pair[0]][1])):
        below[pair[1]].append(pair)
    for pairs in below.values():
        x = 0.0
        for place, (upper, lower) in enumerate(pairs):
            x = crossing(upper, lower, place, len(pairs), x + 75)
            begin, end = box(upper)[1] + ROOM, box(lower)[1]
            colour = "#c0392b" if (upper, lower) in upwards else "#8fa8bf"
            thick = min(1 + includes[upper, lower] / 12, 6)
            arrows += [f'<line x1="{x:.0f}" y1="{begin}" x2="{x:.0f}" y2="{end - 7}" stroke="{colour}" stroke-width="{thick:.1f}"/>',
                       f'<path d="M{x - 5:.0f} {end - 8} L{x + 5:.0f} {end - 8} L{x:.0f} {end} Z" fill="{colour}"/>',
                       f'<text x="{x + 7:.0f}" y="{end - 12}" font-size="11" fill="#54708c">{upper} {includes[upper, lower]}</text>']
    for floor in PLACES:
        left, top, room = box(floor)
        counts = list(lines[floor].values())
        out += [f'<rect x="{left}" y="{top}" width="{room}" height="{ROOM}" rx="4" fill="#eef3f8" stroke="#54708c"/>',
                f'<text x="{left + 12}" y="{top + 22}" font-weight="bold" fill="#22384f">{floor}</text>',
                f'<text x="{left + 12}" y="{top + 41}" fill="#54708c">{len(counts)} headers, '
                f'median {statistics.median(counts):.0f} lines</text>']
    return "\n".join(out[:3] + arrows + out[3:] + ["</svg>", ""])


def main() -> int:
    if len(sys.argv) not in (2, 4):
        print(__doc__, file=sys.stderr)
        return 2
    picture = draw(*read(pathlib.Path(sys.argv[1])))
    if len(sys.argv) == 2:
        print(picture, end="")
        return 0
    if pathlib.Path(sys.argv[3]).read_text() != picture:
        print(f"{sys.argv[3]} is not the picture of these headers; make it anew: {sys.argv[0]} {sys.argv[1]} > {sys.argv[3]}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
