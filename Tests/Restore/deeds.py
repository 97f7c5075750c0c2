"""What operators do in a day, chosen by a seed: nobody waits for the one before to end, unless chance says so."""

import collections
import time

from stage import Failure, wait

# How often each is done.
SHARES = {"start": 10, "stop": 8, "restart": 4, "create": 6, "delete": 3, "move": 18, "message": 16, "write": 20, "snapshot": 6,
          "keep": 3, "rollback": 6, "configure": 5, "away": 3}


class Deeds:
    """The operations of one run, and what the hub said of them."""

    def __init__(self, fleet, chance):
        self.fleet, self.random = fleet, chance
        self.bots = []
        # Those whose deletion was asked for, whatever became of it; and how.
        self.deleted = {}
        self.created = 0
        self.entries = 0
        self.told = collections.Counter()
        self.away = {}

    # One by one

    def create(self):
        self.created += 1
        node = self.random.choice(self.fleet.nodes)
        made = self.fleet.call("POST", "/api/bots", {"name": f"bot-{self.created}", "node_id": node.id,
                                                     "config": {"greeting": "Moin", "number": self.created}}).json
        self.bots.append(made["id"])
        if self.random.random() < 0.8:
            self.say("POST", f"/api/bots/{made['id']}/start")
        return made["id"]

    def do_create(self, _):
        self.create()

    def do_start(self, bot):
        self.say("POST", f"/api/bots/{bot}/start")

    def do_stop(self, bot):
        self.say("POST", f"/api/bots/{bot}/stop")

    def do_restart(self, bot):
        self.say("POST", f"/api/bots/{bot}/restart")

    def do_delete(self, bot):
        if len(self.bots) < 6:
            return
        keeps = self.random.random() < 0.5
        if self.say("DELETE", f"/api/bots/{bot}?keep_workspace={'true' if keeps else 'false'}"):
            self.bots.remove(bot)
            self.deleted[bot] = keeps

    def do_move(self, bot):
        body = {"node_id": self.random.choice(self.fleet.nodes).id}
        if self.random.random() < 0.1:
            # Only where the source can be stopped: that it runs on where it cannot is what force is warned of.
            self.all_back()
            self.rest()
            body["force"] = True
        made = self.say("POST", f"/api/bots/{bot}/deploy", body)
        if made and "force" in body:
            self.rest()
        elif made and self.random.random() < 0.1:
            self.say("POST", f"/api/deployments/{made['id']}/cancel")

    def do_message(self, bot):
        self.say("POST", f"/api/bots/{bot}/messages", {"text": f"hello {self.entries}", "conversation_id": "talk"})

    def do_write(self, bot):
        """One more entry of the workspace's history."""
        self.entries += 1
        self.say("PUT", f"/api/bots/{bot}/workspace/history/{self.entries:06}", f"entry {self.entries}\n")

    def do_snapshot(self, bot):
        self.say("POST", f"/api/bots/{bot}/snapshots")

    def do_keep(self, bot):
        self.say("PUT", f"/api/bots/{bot}/snapshots/kept", {"kept": self.random.choice((1, 2, 3))})

    def do_rollback(self, bot):
        past = [each for each in self.fleet.get(f"/api/bots/{bot}/deployments")["items"] if each["state"] == "succeeded"]
        if past:
            self.say("POST", f"/api/bots/{bot}/rollback", {"deployment_id": self.random.choice(past)["id"]})

    def do_configure(self, bot):
        self.say("PATCH", f"/api/bots/{bot}", {"config": {"greeting": self.random.choice(("Hello", "Moin", "Servus"))}})

    def do_away(self, _):
        """An agent that is killed and comes back some operations later, beside its bots."""
        up = [node for node in self.fleet.nodes if node.is_up]
        if len(up) > 1:
            node = self.random.choice(up)
            self.fleet.kill_agent(node)
            self.away[node.name] = self.random.randrange(1, 8)

    # All of them

    def say(self, method, path, body=None):
        """The answer's JSON, or None where the hub would not: that is its right, as during a deployment."""
        try:
            answer = self.fleet.call(method, path, body, expect=False)
        except OSError as error:
            raise Failure(f"{method} {path}: {error}")
        if answer.status >= 500 and answer.status not in (503, 504, 507):
            raise Failure(f"{method} {path}: {answer.status} {answer.body!r}")
        self.told["taken" if answer.status < 300 else f"{answer.status} {answer.code}"] += 1
        return (answer.json or True) if answer.status < 300 else None

    def some(self, count):
        for _ in range(count):
            for node in self.fleet.nodes:
                if node.name in self.away:
                    self.away[node.name] -= 1
                    if self.away[node.name] <= 0:
                        del self.away[node.name]
                        self.fleet.raise_node(node)
            kind, = self.random.choices(list(SHARES), SHARES.values())
            getattr(self, f"do_{kind}")(self.random.choice(self.bots))
            chance = self.random.random()
            if chance < 0.1:
                self.rest()
            elif chance < 0.7:
                time.sleep(0.3 * self.random.random())

    def all_back(self):
        for node in self.fleet.nodes:
            if self.away.pop(node.name, None) is not None:
                self.fleet.raise_node(node)

    def rest(self, seconds=120):
        """Waits until nothing is under way; where a node is away that may never be."""
        if not self.away:
            wait("everything to come to rest", lambda: not self.under_way() and all(map(self.fleet.is_online, self.fleet.nodes)), seconds)

    def under_way(self):
        open_deployments = [each["id"] for bot in self.bots for each in self.fleet.get(f"/api/bots/{bot}/deployments?limit=5")["items"]
                            if each["state"] in ("running", "returning")]
        open_commands = [each["id"] for state in ("queued", "delivered", "running")
                         for each in self.fleet.get(f"/api/commands?state={state}&limit=200")["items"]]
        return open_deployments + open_commands
