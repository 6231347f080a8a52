import unittest

from page import links, preview
from patchbay_mock import Mock

PAGE = """<html><head><title>Fallback</title>
<meta property="og:title" content="Ferris the   crab">
<meta name="description" content="An unofficial mascot."></head><body>…</body></html>"""


class Unfurling(unittest.TestCase):
    def setUp(self):
        self.mock = Mock()
        self.addCleanup(self.mock.__exit__)
        self.mock.ask("user", name="ann")
        self.mock.ask("channel", name="general", members=["ann", "unfurl"])
        self.mock.ask("channel", name="elsewhere", members=["ann"])

    def post(self, channel, content):
        return self.mock.ask("post", as_="ann", channel=channel, content=content)["id"]

    def answer(self, url, **fields):
        headers = {"content-type": "text/html; charset=utf-8"}
        self.mock.ask("answer", url=url, headers=headers, **fields)

    def test_a_link_gets_a_preview(self):
        url = "https://en.wikipedia.org/wiki/Ferris"
        self.answer(url, body=PAGE)
        message = self.post("general", f"look: {url}!")
        self.post("elsewhere", f"the bot does not hear of {url}")
        told = self.mock.ask("deliver")
        self.assertEqual([one["outcome"] for one in told], ["ok"])
        seen = self.mock.ask("decorate", as_="ann", messages=[message])
        preview = {"url": url, "title": "Ferris the crab", "description": "An unofficial mascot."}
        self.assertEqual(seen, {str(message): [preview]})
        event = self.mock.ask("events")[-1]
        self.assertEqual((event["kind"], event["actor"]), ("plugin.unfurl.previewed", "unfurl"))

    def test_other_hosts_are_not_asked(self):
        self.post("general", "https://169.254.169.254/latest/meta-data and https://example.org/")
        self.assertEqual([one["outcome"] for one in self.mock.ask("deliver")], ["ok"])
        self.assertEqual(self.mock.ask("requests"), [])
        codes = [call["error"] for call in self.mock.ask("calls") if call["interface"] == "http-client"]
        self.assertEqual(codes, ["egress_not_granted", "egress_not_granted"])

    def test_a_server_that_is_away_is_asked_again(self):
        url = "https://github.com/"
        self.post("general", url)
        self.assertEqual(self.mock.ask("deliver")[0]["outcome"], "retry")
        self.answer(url, body=PAGE)
        self.assertEqual(self.mock.ask("deliver")[0]["outcome"], "ok")
        self.assertEqual(len(self.mock.ask("requests")), 2)

    def test_what_is_no_page_has_no_preview(self):
        self.mock.ask("answer", url="https://github.com/*", headers={"content-type": "image/png"}, body="png")
        self.post("general", "https://github.com/logo.png")
        self.mock.ask("deliver")
        self.assertEqual(self.mock.ask("state"), {})


class Pages(unittest.TestCase):
    def test_links(self):
        text = "see https://a.org/b(c), http://a.org. and https://a.org/b(c"
        self.assertEqual(links(text, 3), ["https://a.org/b(c", "http://a.org"])

    def test_a_page_without_a_title_says_nothing(self):
        self.assertIsNone(preview("u", "<html><body>hello"))
        self.assertEqual(preview("u", "<title>" + "x" * 900)["title"][-1], "…")


if __name__ == "__main__":
    unittest.main()
