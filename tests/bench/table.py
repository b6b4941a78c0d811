"""Medians, ratios and the table they stand in."""
from statistics import median

# The code of a run that was ended at its time limit (timeout(1) says it so too).
HUNG = 124


class Row:
    """The runs of one way to write one image."""

    def __init__(self, image, name):
        self.image, self.name, self.costs, self.bad, self.hung = image, name, [], 0, False

    def add(self, cost, right):
        if cost.code == 0 and right:
            self.costs.append(cost)
        else:
            self.bad += 1
            self.hung |= cost.code == HUNG

    def median(self, what):
        return median(getattr(cost, what) for cost in self.costs) if self.costs else float("nan")


def ratio(base, row, what):
    return base.median(what) / row.median(what) if base.costs and row.costs else float("nan")


def show(rows, floors):
    """One line a row; ratios are against the first row of the same image."""
    print(f"{'image':6} {'way':28} {'n':>2} {'bad':>3} | {'wall min':>8} {'med':>6} {'max':>6} | {'cpu':>6} {'all cpu':>7} |"
          f" {'rss MiB':>7} {'stored MiB':>10} | {'wall':>6} {'cpu':>6} | of floor")
    bases = {}
    for row in rows:
        base = bases.setdefault(row.image, row)
        walls = sorted(cost.wall for cost in row.costs) or [float("nan")]
        floor = floors.get((row.image, row.name))
        of_floor = f"{row.median('wall') / floor(row):.2f}x" if floor and row.costs else ""
        print(f"{row.image:6} {row.name:28} {len(row.costs):2} {row.bad:3} | {walls[0]:8.2f} {row.median('wall'):6.2f}"
              f" {walls[-1]:6.2f} | {row.median('cpu'):6.2f} {row.median('all_cpu'):7.2f} | {row.median('rss_mib'):7.0f}"
              f" {row.median('stored') / (1 << 20):10.0f} | {ratio(base, row, 'wall'):5.2f}x {ratio(base, row, 'cpu'):5.2f}x | {of_floor}",
              flush=True)
