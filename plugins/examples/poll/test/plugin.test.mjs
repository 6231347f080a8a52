import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Mock } from '../patchbay-mock.mjs';

async function withPoll(t) {
  const mock = await Mock.project();
  t.after(() => mock.close());
  for (const name of ['ann', 'ben', 'eve']) await mock.ask('user', { name });
  await mock.ask('channel', { name: 'general', members: ['ann', 'ben'] });
  const text = '/poll Lunch? | Pizza | Soup';
  await mock.ask('command', { as: 'ann', channel: 'general', text });
  const [message] = await mock.ask('messages', { channel: 'general' });
  const path = `/api/plugins/poll/polls/${message.id}`;
  const request = (who, method, below = '', body = null) =>
    mock.ask('http', { as: who, method, path: path + below, body });
  return { mock, message, request };
}

test('a poll is asked, voted on and closed', async (t) => {
  const { mock, message, request } = await withPoll(t);
  assert.equal(message.content, '📊 Lunch?\n1. Pizza\n2. Soup');

  await request('ben', 'PUT', '/vote', { answer: 1 });
  const changed = await request('ben', 'PUT', '/vote', { answer: 2 });
  assert.deepEqual(changed.body.answers, [
    { text: 'Pizza', votes: 0 },
    { text: 'Soup', votes: 1 },
  ]);
  assert.equal(changed.body.my_vote, 2);

  const signals = await mock.ask('signals');
  assert.deepEqual(signals.map((signal) => signal.kind), ['plugin.poll.results', 'plugin.poll.results']);
  assert.equal(signals[1].data.my_vote, undefined, 'who voted for what is nobody else’s');

  assert.equal((await request('ben', 'POST', '/close')).status, 403);
  assert.equal((await request('ann', 'POST', '/close')).body.closed, true);
  assert.equal((await request('ben', 'PUT', '/vote', { answer: 1 })).body.code, 'poll_closed');
  const kinds = (await mock.ask('events')).map((event) => event.kind);
  assert.deepEqual(kinds, ['message.created', 'plugin.poll.opened', 'plugin.poll.closed']);
});

test('readers see the results at the message', async (t) => {
  const { mock, message, request } = await withPoll(t);
  const plain = await mock.ask('post', { as: 'ben', channel: 'general', content: 'hello' });
  await request('ben', 'PUT', '/vote', { answer: 1 });
  const seen = await mock.ask('decorate', { as: 'ann', messages: [message.id, plain.id] });
  assert.deepEqual(Object.keys(seen), [String(message.id)]);
  assert.equal(seen[message.id].answers[0].votes, 1);
  assert.equal(seen[message.id].my_vote, null);
});

test('who can’t read the message learns nothing, and with it everything goes', async (t) => {
  const { mock, message, request } = await withPoll(t);
  assert.equal((await request('eve', 'GET')).body.code, 'message_not_found');
  assert.equal((await request('eve', 'PUT', '/vote', { answer: 1 })).status, 404);
  assert.equal((await request('ben', 'PUT', '/vote', { answer: 3 })).status, 422);
  await request('ben', 'PUT', '/vote', { answer: 1 });
  await mock.ask('delete', { as: 'ann', message: message.id });
  assert.deepEqual(await mock.ask('state'), {});
});

test('a poll needs a question and answers', async (t) => {
  const { mock } = await withPoll(t);
  for (const text of ['/poll', '/poll Lunch?', '/poll Lunch? | Pizza', '/poll | a | b', '/poll a | | b']) {
    const refused = mock.ask('command', { as: 'ann', channel: 'general', text });
    await assert.rejects(refused, { code: 'validation_failed' }, text);
  }
});
