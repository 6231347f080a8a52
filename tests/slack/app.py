"""What was made for Slack, with Slack's own libraries and nothing of ours.

`app.py webhook URL` sends messages to an incoming webhook. `app.py commands SECRET PORT` is a Bolt app that answers the
slash command `/deploy` at `/slack/events`, once it has said `ready`.
"""

import sys


def webhook(url):
    from slack_sdk.models.blocks import HeaderBlock, SectionBlock
    from slack_sdk.webhook import WebhookClient

    client = WebhookClient(url)
    answers = [
        client.send(text="plain & <https://example.org|linked>"),
        client.send(
            text="fallback",
            blocks=[HeaderBlock(text="Build 7"), SectionBlock(text="*failed* on `main`")],
        ),
        client.send(attachments=[{"color": "danger", "title": "disk", "text": "95 % full"}]),
    ]
    for answer in answers:
        print(answer.status_code, answer.body, flush=True)


def commands(secret, port):
    from slack_bolt import App
    from slack_bolt.authorization import AuthorizeResult

    def authorize(enterprise_id, team_id, logger):
        return AuthorizeResult(
            enterprise_id=enterprise_id, team_id=team_id, bot_token="xoxb-none", bot_id="B1", bot_user_id="U1"
        )

    app = App(signing_secret=secret, authorize=authorize, token_verification_enabled=False)

    @app.command("/deploy")
    def deploy(ack, command):
        who, what, where = command["user_name"], command["text"], command["channel_name"]
        if what == "all":
            ack(response_type="in_channel", text=f"*{who}* deploys everything")
        elif what == "silently":
            ack()
        else:
            ack(f"{who} deploys {what} in {where}")

    print("ready", flush=True)
    app.start(port=int(port))


if __name__ == "__main__":
    {"webhook": webhook, "commands": commands}[sys.argv[1]](*sys.argv[2:])
