"""Lists that are long: as of one moment, in all their forms, for clients that read slowly or go."""
import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "integration"))

import harness  # noqa: E402
import thin  # noqa: E402

COUNT = 500
LONG = "x" * 16000


class Lists(harness.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        client = cls.daemon.client()
        cls.refs = [client("secret.create", {"value": f"{i:04} {LONG}", "other_config": {}})
                    for i in range(COUNT)]
        client.close()

    def begin(self, *arguments):
        talk = thin.Conversation(self.daemon.address)
        self.addCleanup(talk.close)
        login = f"username=root\npassword={harness.PASSWORD}"
        return talk.begin("\n".join([*arguments, login]).encode())

    def prints(self, talk):
        """What is printed, until Exit 0."""
        texts = []
        while True:
            message = talk.message()
            if message.tag == thin.EXIT:
                self.assertEqual(message.fields[0], 0)
                return texts
            self.assertEqual(message.tag, thin.PRINT)
            texts.append(message.fields[0].decode())

    def xe(self, *arguments):
        result = thin.Client(self.daemon.address, password=harness.PASSWORD).run(*arguments)
        self.assertEqual((result.code, result.stderr), (0, b""))
        return result.stdout.decode()

    def test_what_changes_while_a_list_is_read_is_not_in_it(self):
        talk = self.begin("secret-list")
        first = talk.message()  # it has begun: the others wait for room
        for ref in self.refs[100::7]:
            self.client("secret.set_value", ref, "changed")
        gone = self.client("secret.create", {"value": "new", "other_config": {}})
        self.client("secret.destroy", gone)
        texts = [first.fields[0].decode(), *self.prints(talk)]
        self.assertEqual(len(texts), COUNT)
        self.assertEqual([text.split("value ( RW): ")[1] for text in texts],
                         [f"{i:04} {LONG}\n\n" for i in range(COUNT)])
        self.assertEqual(self.xe("secret-list", "value=changed", "--minimal").count(","),
                         len(self.refs[100::7]) - 1)
        for i, ref in enumerate(self.refs):
            if i >= 100 and (i - 100) % 7 == 0:
                self.client("secret.set_value", ref, f"{i:04} {LONG}")

    def test_all_forms_have_all_records(self):
        uuids = self.xe("secret-list", "--minimal").strip().split(",")
        self.assertEqual(len(set(uuids)), COUNT)
        records = json.loads(self.xe("secret-list", "--json"))
        self.assertEqual([record["uuid"] for record in records], uuids)
        self.assertEqual([record["value"][:4] for record in records], [f"{i:04}" for i in range(COUNT)])
        self.assertEqual(self.xe("secret-list", "params=uuid").count("uuid ( RO)"), COUNT)

    def test_readers_that_go_leave_nothing_behind(self):
        for _ in range(20):
            talk = self.begin("secret-list")
            talk.message()
            talk.close()
        self.assertEqual(self.xe("secret-list", "value=nothing"), "")


if __name__ == "__main__":
    harness.main()
