import unittest

from patchbay_mock import Mock


class Greetings(unittest.TestCase):
    def test_greetings_are_counted(self):
        with Mock() as mock:
            ann = mock.ask("user", name="ann")
            mock.ask("channel", name="general", members=["ann"])

            first = mock.ask("command", as_="ann", channel="general", text="/{{name}}")
            self.assertEqual(first, {"text": "Hello ann, greeting number 1."})
            mock.ask("command", as_="ann", channel="general", text="/{{name}}")

            path = f"/api/plugins/{{name}}/greetings/{ann}"
            answer = mock.ask("http", as_="ann", method="GET", path=path)
            self.assertEqual(answer["status"], 200)
            self.assertEqual(answer["body"], {"user": "ann", "count": 2})
            self.assertEqual(mock.ask("state"), {f"greetings/{ann}": "2"})

    def test_strangers_learn_nothing(self):
        with Mock() as mock:
            path = "/api/plugins/{{name}}/greetings/1"
            self.assertEqual(mock.ask("http", method="GET", path=path)["status"], 401)
            self.assertEqual(mock.ask("calls"), [])


if __name__ == "__main__":
    unittest.main()
