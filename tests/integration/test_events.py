"""event.from, event.next, event.inject: what is told, when, and what a restart changes."""
import select
import time
import unittest

import harness
from harness import Events, begin

NETWORK = {"name_label": "n", "name_description": "", "MTU": 1500, "other_config": {}}


def token_number(token):
    return int(token.split(",")[0])


class EventCase(harness.TestCase):
    def network(self, label="n"):
        return self.client("network.create", dict(NETWORK, name_label=label))

    def now(self):
        return self.ask([], "")["token"]

    def ask(self, classes, token, timeout=0.0, client=None):
        return (client or self.client)("event.from", classes, token, timeout)

    def operations(self, reply, ref):
        return [e["operation"] for e in reply["events"] if e["ref"] == ref]


class Selection(EventCase):
    def test_from_the_beginning_every_object_is_an_add_with_its_record(self):
        ref = self.network()
        reply = self.ask(["*"], "")
        self.assertEqual({e["operation"] for e in reply["events"]}, {"add"})
        refs = [e["ref"] for e in reply["events"]]
        self.assertEqual(len(refs), len(set(refs)))
        event = next(e for e in reply["events"] if e["ref"] == ref)
        self.assertEqual(event["class"], "network")
        self.assertEqual(event["snapshot"], self.client("network.get_record", ref))
        pools = [e for e in reply["events"] if e["class"] == "pool"]
        self.assertEqual(len(pools), 1)

    def test_both_protocols_tell_the_same(self):
        self.network("<&>\u00e9\U0001f600")
        json = self.ask(["network"], "")
        xml_client = self.daemon.xml()
        xml_client.session = self.client.session
        xml = self.ask(["network"], "", client=xml_client)
        self.assertEqual(json["token"], xml["token"])
        self.assertEqual(json["valid_ref_counts"], xml["valid_ref_counts"])
        for a, b in zip(json["events"], xml["events"], strict=True):
            for key in ("id", "class", "operation", "ref"):
                self.assertEqual(a[key], b[key])
            self.assertEqual(a["snapshot"]["name_label"], b["snapshot"]["name_label"])
            self.assertEqual(set(a["snapshot"]), set(b["snapshot"]))
            self.assertEqual(str(a["snapshot"]["MTU"]), b["snapshot"]["MTU"])

    def test_the_form_of_an_event(self):
        token = self.now()
        ref = self.network()
        event = next(e for e in self.ask(["network"], token)["events"] if e["ref"] == ref)
        self.assertEqual(set(event), {"id", "timestamp", "class", "operation", "ref", "snapshot"})
        self.assertIsInstance(event["id"], str)
        self.assertGreater(int(event["id"]), token_number(token))
        self.assertLess(abs(float(event["timestamp"]) - time.time()), 60)

    def test_a_token_has_the_published_form(self):
        self.assertRegex(self.now(), r"\A\d{20},\d{20}\Z")

    def test_many_changes_are_one_event_with_the_newest_record(self):
        ref = self.network()
        token = self.now()
        for label in ("a", "b", "c"):
            self.client("network.set_name_label", ref, label)
        events = [e for e in self.ask(["network"], token)["events"] if e["ref"] == ref]
        self.assertEqual([e["operation"] for e in events], ["mod"])
        self.assertEqual(events[0]["snapshot"]["name_label"], "c")

    def test_made_and_changed_is_an_add(self):
        token = self.now()
        ref = self.network()
        self.client("network.set_name_label", ref, "changed")
        self.assertEqual(self.operations(self.ask(["network"], token), ref), ["add"])

    def test_destroyed_is_a_del_without_snapshot(self):
        ref = self.network()
        token = self.now()
        self.client("network.set_name_label", ref, "about to go")
        self.client("network.destroy", ref)
        events = [e for e in self.ask(["network"], token)["events"] if e["ref"] == ref]
        self.assertEqual([e["operation"] for e in events], ["del"])
        self.assertNotIn("snapshot", events[0])

    def test_made_and_destroyed_between_two_calls_is_nothing(self):
        token = self.now()
        ref = self.network()
        self.client("network.destroy", ref)
        self.assertEqual(self.operations(self.ask(["*"], token), ref), [])

    def test_from_the_beginning_there_is_no_del(self):
        ref = self.network()
        self.client("network.destroy", ref)
        self.assertEqual({e["operation"] for e in self.ask(["*"], "")["events"]}, {"add"})

    def test_an_equal_write_is_no_event(self):
        ref = self.network("same")
        token = self.now()
        self.client("network.set_name_label", ref, "same")
        self.assertEqual(self.ask(["network"], token)["events"], [])

    def test_the_other_end_of_a_relation_is_told(self):
        network = self.network()
        vms = self.client("VM.get_all_records")
        vm = next(ref for ref, r in vms.items() if r["is_a_template"])
        token = self.now()
        vif = self.client("VIF.create", {
            "device": "7", "network": network, "VM": vm, "MAC": "", "MTU": 1500,
            "other_config": {}, "qos_algorithm_type": "", "qos_algorithm_params": {}})
        reply = self.ask(["vif", "vm", "network"], token)
        self.assertEqual(self.operations(reply, vif), ["add"])
        self.assertEqual(self.operations(reply, vm), ["mod"])
        self.assertEqual(self.operations(reply, network), ["mod"])
        self.client("VIF.destroy", vif)

    def test_nothing_is_told_twice(self):
        self.network()
        token = self.now()
        reply = self.ask(["*"], token)
        self.assertEqual(reply["events"], [])

    def test_valid_ref_counts_has_every_class(self):
        ref = self.network()
        counts = self.ask([], "")["valid_ref_counts"]
        self.assertEqual(counts["network"], len(self.client("network.get_all")))
        self.assertEqual(counts["task"], len(self.client("task.get_all")))
        self.assertIn("session", counts)
        self.assertIn("vm_guest_metrics", counts)
        self.assertNotIn("xn_operation", counts)
        self.client("network.destroy", ref)
        after = self.ask([], "")["valid_ref_counts"]
        self.assertEqual(after["network"], counts["network"] - 1)

    def test_secret_and_internal_classes_have_no_events(self):
        self.daemon.client()
        classes = {e["class"] for e in self.ask(["*"], "")["events"]}
        self.assertFalse(classes & {"session", "user", "secret", "xn_operation"})
        self.assertEqual(self.ask(["session", "secret", "xn_operation"], "")["events"], [])

    def test_adds_come_first_then_mods_then_dels(self):
        old, doomed = self.network(), self.network()
        token = self.now()
        self.client("network.destroy", doomed)
        self.client("network.set_name_label", old, "later")
        made = self.network()
        self.assertEqual([(e["operation"], e["ref"]) for e in self.ask(["network"], token)["events"]],
                         [("add", made), ("mod", old), ("del", doomed)])


class Subscription(EventCase):
    def test_class_names_are_taken_in_any_case(self):
        ref = self.network()
        for name in ("network", "Network", "NETWORK", "network/" + ref, "NETWORK/" + ref):
            self.assertIn(ref, [e["ref"] for e in self.ask([name], "")["events"]])

    def test_one_object_alone(self):
        ref, other = self.network(), self.network()
        self.assertEqual([e["ref"] for e in self.ask(["network/" + ref], "")["events"]], [ref])
        token = self.now()
        self.client("network.destroy", ref)
        self.client("network.destroy", other)
        self.assertEqual(self.operations(self.ask(["network/" + ref], token), ref), ["del"])
        self.assertEqual(self.operations(self.ask(["network/" + ref], token), other), [])

    def test_an_object_asked_for_twice_is_told_once(self):
        ref = self.network()
        wishes = ["network", "network/" + ref, "network/" + ref, "*"]
        self.assertEqual(self.operations(self.ask(wishes, ""), ref), ["add"])
        wishes = ["network/" + ref, "network/" + ref]
        self.assertEqual(self.operations(self.ask(wishes, ""), ref), ["add"])

    def test_the_reference_must_match_to_the_letter(self):
        ref = self.network()
        self.assertEqual(self.ask(["network/" + ref.upper(), "network/" + ref + "/x", "vm/" + ref,
                                   "network/"], "")["events"], [])

    def test_what_names_nothing_matches_nothing(self):
        wishes = ["", "no-such-class", "vm_", "*/*", "x" * 300, "no/such/thing", "network/" + "y" * 500]
        self.assertEqual(self.ask(wishes, "")["events"], [])

    def test_no_wish_no_event(self):
        self.assertEqual(self.ask([], "")["events"], [])


class Token(EventCase):
    def test_a_bad_token_is_named(self):
        for bad in ("1", ",", "1,", ",1", "a,b", "1,2,3", " 1,2", "1, 2", "1,2 ", "+1,2", "0x1,2",
                    "9223372036854775808,0", "1,9223372036854775808", "1.0,2"):
            with self.fails("EVENT_FROM_TOKEN_PARSE_FAILURE", bad):
                self.ask(["*"], bad)

    def test_zero_and_below_are_the_beginning(self):
        expected = len(self.ask(["*"], "")["events"])
        for token in ("0,0", "%020d,%020d" % (0, 0), "-5,0", "00,-1"):
            self.assertEqual(len(self.ask(["*"], token)["events"]), expected)

    def test_a_token_from_the_future_is_lost(self):
        future = "%020d,%020d" % (token_number(self.now()) + 1000, 0)
        with self.fails("EVENTS_LOST"):
            self.ask(["*"], future)

    def test_a_newer_token_is_the_greater_text(self):
        before = self.now()
        self.network()
        self.assertGreater(self.now(), before)

    def test_inject_gives_a_token_that_the_next_answer_passes(self):
        pool = self.client("pool.get_all")[0]
        injected = self.client("event.inject", "pool", pool)
        self.assertRegex(injected, r"\A\d{20},\d{20}\Z")
        reply = self.ask(["pool"], injected)
        self.assertGreater(reply["token"], injected)
        self.assertEqual(self.operations(reply, pool), ["mod"])

    def test_inject_wakes_and_changes_nothing(self):
        ref = self.network("as it was")
        token = self.now()
        waiting = begin(self.client, "event.from", ["network/" + ref], token, 30.0)
        record = self.client("network.get_record", ref)
        self.client("event.inject", "network", ref)
        reply = waiting.finish()
        self.assertEqual(self.operations(reply, ref), ["mod"])
        self.assertEqual(reply["events"][0]["snapshot"], record)

    def test_inject_wants_the_exact_class_and_an_object_of_it(self):
        """CVE-2017-5572: a reference to nothing went to everybody who waited."""
        pool = self.client("pool.get_all")[0]
        for name, ref in (("Pool", pool), ("VM", pool), ("nothing", pool), ("pool", "x"),
                          ("pool", "OpaqueRef:NULL"), ("xn_operation", pool)):
            with self.fails("HANDLE_INVALID", name, ref):
                self.client("event.inject", name, ref)


class Blocking(EventCase):
    def test_a_call_that_finds_something_does_not_wait(self):
        token = self.now()
        self.network()
        start = time.monotonic()
        self.assertTrue(self.ask(["network"], token, 30.0)["events"])
        self.assertLess(time.monotonic() - start, 5)

    def test_timeout_zero_answers_at_once_with_nothing(self):
        for zero in (0, 0.0, "0", "0.0"):
            reply = self.ask(["network"], self.now(), zero)
            self.assertEqual(reply["events"], [])
            self.assertRegex(reply["token"], r"\A\d{20},\d{20}\Z")

    def test_a_timeout_ends_with_nothing_and_a_token(self):
        token = self.now()
        start = time.monotonic()
        reply = self.ask(["network"], token, 0.3)
        self.assertGreaterEqual(time.monotonic() - start, 0.29)
        self.assertEqual(reply["events"], [])
        self.assertGreaterEqual(reply["token"], token)

    def test_timeouts_come_as_any_kind_of_number(self):
        token = self.now()
        for timeout in (0.05, "0.05", "5e-2"):
            self.assertEqual(self.ask(["network"], token, timeout)["events"], [])

    def test_a_change_wakes_the_waiting_call(self):
        ref = self.network()
        token = self.now()
        waiting = begin(self.client, "event.from", ["network"], token, 30.0)
        self.client("network.set_name_label", ref, "woken")
        reply = waiting.finish()
        self.assertEqual(self.operations(reply, ref), ["mod"])
        self.assertEqual(reply["events"][0]["snapshot"]["name_label"], "woken")

    def test_the_answer_comes_without_artificial_delay(self):
        ref = self.network()
        waits = []
        for i in range(20):
            waiting = begin(self.client, "event.from", ["network"], self.now(), 30.0)
            self.client("network.set_name_label", ref, f"round {i}")
            start = time.monotonic()  # the setter's reply came after a sync, so it is there by now
            waiting.finish()
            waits.append(time.monotonic() - start)
        self.assertLess(sorted(waits)[10], 0.02, waits)

    def test_other_changes_do_not_wake_it(self):
        ref, other = self.network(), self.network()
        waiting = begin(self.client, "event.from", ["network/" + ref, "vm"], self.now(), 30.0)
        for i in range(10):
            self.client("network.set_name_label", other, str(i))
        readable, _, _ = select.select([waiting.connection.sock], [], [], 0)
        self.assertFalse(readable)
        self.client("network.set_name_label", ref, "mine")
        reply = waiting.finish()
        self.assertEqual([e["ref"] for e in reply["events"]], [ref])

    def test_a_destroyed_object_wakes_who_waits_for_it(self):
        ref = self.network()
        waiting = begin(self.client, "event.from", ["network/" + ref], self.now(), 30.0)
        self.client("network.destroy", ref)
        self.assertEqual(self.operations(waiting.finish(), ref), ["del"])

    def test_negative_timeouts_wait_long(self):
        ref = self.network()
        waiting = begin(self.client, "event.from", ["network"], self.now(), -1.0)
        readable, _, _ = select.select([waiting.connection.sock], [], [], 0.1)
        self.assertFalse(readable)
        self.client("network.set_name_label", ref, "at last")
        self.assertEqual(self.operations(waiting.finish(), ref), ["mod"])

    def test_a_client_that_goes_away_leaves_nothing_behind(self):
        ref = self.network()
        token = self.now()
        before = self.daemon.open_sockets()
        waiting = [begin(self.client, "event.from", ["network"], token, 3600.0)
                   for _ in range(50)]
        self.assertEqual(self.daemon.open_sockets(), before + 50)
        for client in waiting:
            client.close()
        self.client("network.set_name_label", ref, "anybody there?")
        self.assertEqual(self.client("network.get_name_label", ref), "anybody there?")
        self.assertEqual(self.daemon.open_sockets(), before)

    def test_an_other_config_key_set_and_removed_at_once_is_seen(self):
        pool = self.client("pool.get_all")[0]
        waiting = begin(self.client, "event.from", ["pool"], self.now(), 30.0)
        self.client("pool.add_to_other_config", pool, "xo:barrier:1", "x")
        self.client("pool.remove_from_other_config", pool, "xo:barrier:1")
        event = waiting.finish()["events"][0]
        self.assertEqual(event["snapshot"]["other_config"].get("xo:barrier:1"), "x")


class ManyWaiters(EventCase):
    N = 1000

    def test_one_change_wakes_a_thousand(self):
        ref = self.network()
        token = self.now()
        waiting = []
        for _ in range(self.N):
            client = self.client.another()
            client.begin("event.from", ["network"], token, 60.0)
            waiting.append(client)
        self.now()
        self.client("network.set_name_label", ref, "for all")
        start = time.monotonic()
        labels = {c.finish()["events"][0]["snapshot"]["name_label"] for c in waiting}
        self.assertEqual(labels, {"for all"})
        self.assertLess(time.monotonic() - start, 10)  # this client's own time; tests/bench measures


class Restart(EventCase):
    def restart(self):
        self.daemon.crash_and_restart()
        self.client.close()

    def test_a_token_goes_on_after_a_crash(self):
        changed, kept, doomed = self.network(), self.network(), self.network()
        token = self.now()
        self.client("network.set_name_label", changed, "before the crash")
        self.client("network.destroy", doomed)
        made = self.network()
        self.restart()
        reply = self.ask(["network"], token)
        self.assertEqual({(e["operation"], e["ref"]) for e in reply["events"]},
                         {("mod", changed), ("del", doomed), ("add", made)})
        self.assertNotIn(kept, [e["ref"] for e in reply["events"]])

    def test_nothing_new_after_a_crash_is_nothing(self):
        self.network()
        token = self.now()
        self.restart()
        self.assertEqual(self.ask(["network"], token)["events"], [])

    def test_what_comes_after_a_crash_has_a_greater_token(self):
        token = self.now()
        self.restart()
        ref = self.network()
        reply = self.ask(["network"], token)
        self.assertEqual(self.operations(reply, ref), ["add"])
        self.assertGreater(reply["token"], token)

    def test_a_deletion_just_before_the_crash_is_told(self):
        ref = self.network()
        token = self.now()
        self.client("network.destroy", ref)
        self.restart()
        self.assertEqual(self.operations(self.ask(["*"], token), ref), ["del"])

    def test_an_event_that_was_shown_still_holds(self):
        ref = self.network("first")
        events = Events(self.client, ["network/" + ref])
        self.client.another()("network.set_name_label", ref, "shown")
        events.wait_for(ref, name_label="shown")
        self.restart()
        self.assertEqual(self.client("network.get_name_label", ref), "shown")

    def test_an_ordinary_stop_keeps_tokens_too(self):
        token = self.now()
        ref = self.network()
        self.assertEqual(self.daemon.stop(), 0)
        self.daemon.start()
        self.client.close()
        self.assertEqual(self.operations(self.ask(["network"], token), ref), ["add"])


class Next(EventCase):
    def test_next_needs_register(self):
        with self.fails("SESSION_NOT_REGISTERED"):
            self.daemon.client()("event.next")

    def test_registered_events_come_in_order_with_growing_ids(self):
        client = self.daemon.client()
        client("event.register", ["network"])
        first = self.network("one")
        self.client("network.set_name_label", first, "two")
        self.client("network.destroy", first)
        events = []
        while len(events) < 3:
            events += client("event.next")
        self.assertEqual([e["operation"] for e in events], ["add", "mod", "del"])
        self.assertEqual([e["snapshot"]["name_label"] for e in events[:2]], ["one", "two"])
        ids = [int(e["id"]) for e in events]
        self.assertEqual(ids, sorted(set(ids)))
        self.assertEqual(client("event.get_current_id"), ids[-1])

    def test_next_blocks_until_an_event(self):
        client = self.daemon.client()
        client("event.register", ["network"])
        waiting = begin(client, "event.next")
        self.client("pool.get_all")
        readable, _, _ = select.select([waiting.connection.sock], [], [], 0)
        self.assertFalse(readable)
        ref = self.network()
        self.assertEqual([e["ref"] for e in waiting.finish()], [ref])

    def test_unregister_takes_a_wish_back(self):
        client = self.daemon.client()
        client("event.register", ["network", "task"])
        client("event.unregister", ["network"])
        self.network()
        task = self.client("task.create", "seen", "")
        self.assertEqual([e["ref"] for e in client("event.next")], [task])

    def test_logout_ends_a_waiting_next(self):
        client = self.daemon.client()
        session = client.session
        client("event.register", ["network"])
        waiting = begin(client, "event.next")
        client.logout()
        with self.fails("SESSION_INVALID", session):
            waiting.finish()

    def test_too_slow_is_told_once(self):
        client = self.daemon.client()
        ref = self.network()
        client("event.register", ["network/" + ref])
        for i in range(60):
            self.client("network.set_name_description", ref, str(i) + "x" * 200000)
        with self.fails("EVENTS_LOST"):
            client("event.next")
        self.assertTrue(client("event.next"))

    def test_a_restart_is_events_lost_once_then_it_goes_on(self):
        client = self.daemon.client()
        client("event.register", ["network"])
        self.daemon.crash_and_restart()
        self.client.close()
        client.close()
        with self.fails("EVENTS_LOST"):
            client("event.next")
        waiting = begin(client, "event.next")
        ref = self.network()
        self.assertEqual([e["ref"] for e in waiting.finish()], [ref])


class Messages(EventCase):
    def test_messages_are_objects_like_others(self):
        pool = self.client("pool.get_all_records")
        uuid = next(iter(pool.values()))["uuid"]
        token = self.now()
        ref = self.client("message.create", "LOOK", 3, "Pool", uuid, "a body")
        reply = self.ask(["message"], token)
        self.assertEqual(self.operations(reply, ref), ["add"])
        record = reply["events"][0]["snapshot"]
        self.assertEqual((record["name"], record["priority"], record["cls"], record["obj_uuid"],
                          record["body"]), ("LOOK", 3, "Pool", uuid, "a body"))
        self.assertEqual(self.client("message.get_by_uuid", record["uuid"]), ref)
        self.assertEqual(self.client("message.get_all_records")[ref], record)
        self.assertIn(ref, self.client("message.get", "Pool", uuid, "19700101T00:00:00Z"))
        self.assertNotIn(ref, self.client("message.get_since", "20990101T00:00:00Z"))
        self.assertEqual(list(self.client("message.get_all_records_where",
                                          f'field "uuid" = "{record["uuid"]}"')), [ref])
        self.daemon.crash_and_restart()
        self.client.close()
        self.assertEqual(self.client("message.get_record", ref), record)
        token = self.now()
        self.client("message.destroy_many", [ref])
        self.assertEqual(self.operations(self.ask(["*"], token), ref), ["del"])
        with self.fails("HANDLE_INVALID", "message", ref):
            self.client("message.destroy", ref)

    def test_a_message_is_about_something_that_exists(self):
        with self.fails("UUID_INVALID", "VM", "no-such-uuid"):
            self.client("message.create", "LOOK", 3, "VM", "no-such-uuid", "")


if __name__ == "__main__":
    unittest.main(verbosity=2)
