"""What there really is on the nodes and in the hub's folder, and what must hold of it after something was put back."""

import collections
import pathlib


class Census:
    """Every workspace with its history, every process of a bot, every snapshot's file."""

    def __init__(self, fleet):
        self.trees, self.spare = {}, collections.defaultdict(list)
        for node in fleet.nodes:
            for bot, workspace in workspaces(node.state):
                self.trees[node.name, bot] = history(workspace)
            for bot, tree in staged(node.state):
                self.spare[bot].append(history(tree))
        self.running = {(each.node, each.bot) for each in fleet.running()}
        folder = fleet.data / "snapshots"
        self.snapshots = {file.name for file in [*folder.glob("*"), *(folder / "strays").glob("*")] if file.is_file()}

    def versions(self, bot):
        return [entries for (_, each), entries in self.trees.items() if each == bot] + self.spare[bot]

    def lost(self, earlier, is_given_up):
        """Workspaces of an earlier census that nothing of now holds in full."""
        found = []
        for (node, bot), entries in earlier.trees.items():
            if not is_given_up(bot) and not any(entries <= other for other in self.versions(bot)):
                best = max((entries & other for other in self.versions(bot)), key=len, default=set())
                found.append(f"{bot}: what {node} had, {len(entries)} entries, is nowhere; the most that is left is {len(best)} of them")
        return found


def workspaces(state):
    for folder in (state / "bots").glob("*/workspace"):
        yield folder.parent.name, folder


def staged(state):
    for tree in (state / "bots-control").glob("*/transfers/*/tree"):
        yield tree.parents[2].name, tree


def history(workspace):
    folder = pathlib.Path(workspace) / "history"
    return frozenset(file.name for file in folder.iterdir()) if folder.is_dir() else frozenset()
