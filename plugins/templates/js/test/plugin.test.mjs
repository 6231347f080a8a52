import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Mock } from '../patchbay-mock.mjs';

test('greetings are counted', async (t) => {
  const mock = await Mock.project();
  t.after(() => mock.close());
  const ann = await mock.ask('user', { name: 'ann' });
  await mock.ask('channel', { name: 'general', members: ['ann'] });

  const type = () => mock.ask('command', { as: 'ann', channel: 'general', text: '/{{name}}' });
  assert.deepEqual(await type(), { text: 'Hello ann, greeting number 1.' });
  await type();

  const path = `/api/plugins/{{name}}/greetings/${ann}`;
  const answer = await mock.ask('http', { as: 'ann', method: 'GET', path });
  assert.equal(answer.status, 200);
  assert.deepEqual(answer.body, { user: 'ann', count: 2 });
  assert.deepEqual(await mock.ask('state'), { [`greetings/${ann}`]: '2' });
});

test('strangers learn nothing', async (t) => {
  const mock = await Mock.project();
  t.after(() => mock.close());
  const path = '/api/plugins/{{name}}/greetings/1';
  assert.equal((await mock.ask('http', { method: 'GET', path })).status, 401);
  assert.deepEqual(await mock.ask('calls'), []);
});
