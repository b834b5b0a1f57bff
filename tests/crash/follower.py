"""A client that knows the state from event.from alone, across all restarts of the daemon."""
import threading

import harness
from writer import LOST


class Follower(threading.Thread):
    """Most follow everything; every third one a few classes. Starts from "" once, in its life."""

    def __init__(self, world, index):
        super().__init__(name=f"follower {index}", daemon=True)
        self.world = world
        self.classes = ["vm", "task", "vbd"] if index % 3 == 2 else ["*"]
        self.client = world.daemon.local() if index % 2 else world.daemon.json()
        self.client.login()
        self.token = ""
        self.picture = {}  # class in lower case -> reference -> record
        self.doing = "nothing"

    def ask(self, timeout):
        """One answer, applied. Whether there were events; raises one of LOST when the daemon dies."""
        reply = self.client("event.from", self.classes, self.token, timeout)
        for event in reply["events"]:
            rows = self.picture.setdefault(event["class"].lower(), {})
            if event["operation"] == "del":
                rows.pop(event["ref"], None)
            else:
                rows[event["ref"]] = event["snapshot"]
        self.token = reply["token"]
        return bool(reply["events"])

    def run(self):
        try:
            while not self.world.over.is_set():
                self.doing = f"event.from {self.token}"
                try:
                    self.ask(1.0)
                    self.world.count("answers to followers")
                except LOST:
                    self.client.close()
                    self.world.alive.wait(harness.DEADLINE)
        except Exception as failure:  # also EVENTS_LOST and SESSION_INVALID: none may be
            self.world.fail(f"{self.name} at {self.token}: {failure!r}")

    def follow_to_the_end(self):
        while self.ask(0.0):
            pass

    def compare(self, name, truth):
        """@truth: get_all_records of the class. A line for each row that differs."""
        if self.classes != ["*"] and name.lower() not in self.classes:
            return []
        mine = self.picture.get(name.lower(), {})
        wrong = []
        for ref in sorted(set(mine) | set(truth)):
            if mine.get(ref) != truth.get(ref):
                wrong.append(f"{self.name}: {name} {ref}: {difference(mine.get(ref), truth.get(ref))}")
        return wrong


def difference(mine, truth):
    if mine is None or truth is None:
        return "is missing" if mine is None else "is gone, and no event said so"
    return {key: (mine.get(key), truth.get(key)) for key in set(mine) | set(truth)
            if mine.get(key) != truth.get(key)}
