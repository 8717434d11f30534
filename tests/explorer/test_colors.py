from itertools import pairwise

from gatescope.explorer.colors import tables


def test_colors_go_from_stop_to_stop_and_grow_lighter():
    colors = tables()
    assert set(colors) == {"one", "light", "dark"}
    assert all(len(table) == 257 for table in colors.values())
    assert (colors["one"][0], colors["one"][255]) == (0xFF4E2200, 0xFF38E8FE)  # #00224e and #fee838
    parts = [[color >> shift & 255 for shift in (0, 8, 16)] for color in colors["one"][:256]]
    grey = [0.2126 * red + 0.7152 * green + 0.0722 * blue for red, green, blue in parts]
    assert all(one <= other for one, other in pairwise(grey))  # in print, too
