// Polls: `/poll Lunch? | Pizza | Soup` posts a message, its readers vote, and everybody who has the channel open sees the
// results move.
//
// A poll and its votes are entries of the plugin's state that are tied to the message, so that they go when it goes:
// `poll/MESSAGE` is {question, answers, author, closed}, `vote/MESSAGE/USER` the number of an answer. Two who vote at once
// write two entries, so none is lost.
import * as kv from 'patchbay:plugin/kv@0.1.0';
import * as messages from 'patchbay:plugin/messages@0.1.0';
import * as realtime from 'patchbay:plugin/realtime@0.1.0';

const MAX_ANSWERS = 10;
const encoder = new TextEncoder();
const decoder = new TextDecoder();

const pollKey = (message) => `poll/${message}`;
const votesOf = (message) => `vote/${message}/`;
const toBytes = (value) => encoder.encode(JSON.stringify(value));
const fromBytes = (bytes) => JSON.parse(decoder.decode(bytes));

const failure = (tag, code, detail) => ({ tag, val: { code, detail } });
const invalid = (detail) => failure('invalid', 'validation_failed', detail);

/** All votes of a poll: [[user, answer], …]. */
function votes(message) {
  const prefix = votesOf(message);
  const all = [];
  let after;
  for (;;) {
    const page = kv.scan(prefix, after, 1000);
    for (const { key, value } of page) all.push([key.slice(prefix.length), fromBytes(value)]);
    if (page.length < 1000) return all;
    after = page.at(-1).key;
  }
}

/** A poll as its readers see it; of others it tells how many voted for what, not who. */
function shown(message, poll, cast, reader) {
  const counts = poll.answers.map(() => 0);
  let mine = null;
  for (const [user, answer] of cast) {
    counts[answer - 1] += 1;
    if (user === reader) mine = answer;
  }
  const answers = poll.answers.map((text, index) => ({ text, votes: counts[index] }));
  const seen = { message_id: Number(message), question: poll.question, answers, closed: poll.closed };
  return reader === undefined ? seen : { ...seen, my_vote: mine };
}

function messageId(request) {
  const text = request.params.find(([name]) => name === 'message_id')[1];
  if (!/^[1-9][0-9]{0,17}$/.test(text)) throw invalid('message_id must be a positive integer');
  return BigInt(text);
}

/** The message and its poll, for who can read it. */
function find(caller, request) {
  const message = messages.get(caller, messageId(request));
  const bytes = kv.get(pollKey(message.id));
  if (bytes === undefined) throw failure('not-found', 'poll_not_found', 'this message is no poll');
  return [message, fromBytes(bytes), bytes];
}

function send(response, value) {
  response.start(200, [['content-type', 'application/json']]);
  response.write(toBytes(value));
}

function body(request) {
  try {
    return JSON.parse(decoder.decode(request.body));
  } catch {
    throw failure('invalid', 'malformed_json', 'the body is no JSON');
  }
}

function vote(caller, request, response) {
  const [message, poll, stored] = find(caller, request);
  if (poll.closed) throw failure('conflict', 'poll_closed', 'this poll is closed');
  const { answer } = body(request) ?? {};
  if (!Number.isInteger(answer) || answer < 1 || answer > poll.answers.length) {
    throw invalid(`answer must be 1 to ${poll.answers.length}`);
  }
  const user = String(caller.userId());
  const put = { key: votesOf(message.id) + user, value: toBytes(answer), message: message.id };
  // If it is closed at this very moment, the vote comes too late.
  const expect = { key: pollKey(message.id), value: stored };
  kv.commit(caller, [{ tag: 'expect', val: expect }, { tag: 'put', val: put }], []);
  const cast = votes(message.id);
  const results = JSON.stringify(shown(message.id, poll, cast));
  realtime.signal(caller, message.channel, 'results', results);
  send(response, shown(message.id, poll, cast, user));
}

function close(caller, request, response) {
  const [message, poll, stored] = find(caller, request);
  const user = String(caller.userId());
  if (poll.author !== user && !caller.isSuperuser()) {
    throw failure('forbidden', 'forbidden', 'only who asked may close a poll');
  }
  const closed = { ...poll, closed: true };
  const cast = votes(message.id);
  if (!poll.closed) {
    const put = { key: pollKey(message.id), value: toBytes(closed), message: message.id };
    const expect = { key: pollKey(message.id), value: stored };
    const json = JSON.stringify(shown(message.id, closed, cast));
    const event = { kind: 'closed', channel: message.channel, json };
    kv.commit(caller, [{ tag: 'expect', val: expect }, { tag: 'put', val: put }], [event]);
  }
  send(response, shown(message.id, closed, cast, user));
}

export const http = {
  handle(request, caller, response) {
    if (request.method === 'PUT') return vote(caller, request, response);
    if (request.method === 'POST') return close(caller, request, response);
    const [message, poll] = find(caller, request);
    send(response, shown(message.id, poll, votes(message.id), String(caller.userId())));
  },
};

export const commands = {
  run(caller, { text, channel }) {
    const [question, ...answers] = text.split('|').map((part) => part.trim());
    const fits = answers.length >= 2 && answers.length <= MAX_ANSWERS;
    if (!question || !fits || answers.some((answer) => answer === '')) {
      throw invalid(`/poll QUESTION | ANSWER | ANSWER …, with 2 to ${MAX_ANSWERS} answers`);
    }
    const lines = answers.map((answer, index) => `${index + 1}. ${answer}`);
    const message = messages.post(caller, channel, [`📊 ${question}`, ...lines].join('\n'), undefined, []);
    const poll = { question, answers, author: String(caller.userId()), closed: false };
    const put = { key: pollKey(message.id), value: toBytes(poll), message: message.id };
    const event = { kind: 'opened', channel, json: JSON.stringify(shown(message.id, poll, [])) };
    kv.commit(caller, [{ tag: 'put', val: put }], [event]);
    return {};
  },
};

export const decorator = {
  // A page of 200 messages costs one call of the host, and one more for each poll among them.
  decorate(viewer, ids) {
    const reader = String(viewer.userId());
    const polls = kv.getMany([...ids].slice(0, 200).map(pollKey));
    const decorations = [];
    polls.forEach((bytes, index) => {
      if (bytes === undefined) return;
      const message = ids[index];
      const json = JSON.stringify(shown(message, fromBytes(bytes), votes(message), reader));
      decorations.push({ message, json });
    });
    return decorations;
  },
};
