// Greets people and counts how often.
import * as kv from 'patchbay:plugin/kv@0.1.0';
import * as users from 'patchbay:plugin/users@0.1.0';

const encoder = new TextEncoder();
const decoder = new TextDecoder();

const key = (user) => `greetings/${user}`;

/** An error of the contract: the host makes the fitting HTTP status of it. */
const failure = (tag, code, detail) => ({ tag, val: { code, detail } });

function count(bytes) {
  return bytes === undefined ? 0 : Number(decoder.decode(bytes));
}

/** Adds one, however many calls do so at once. */
function countUp(user) {
  for (let attempt = 0; attempt < 32; attempt++) {
    const before = kv.get(key(user));
    const after = count(before) + 1;
    if (kv.compareAndSwap(key(user), before, encoder.encode(String(after)))) return after;
  }
  throw failure('conflict', 'conflict', 'too many greetings at once');
}

export const http = {
  handle(request, caller, response) {
    const text = request.params.find(([name]) => name === 'user_id')[1];
    if (!/^[1-9][0-9]{0,17}$/.test(text)) {
      throw failure('invalid', 'validation_failed', 'user_id must be a positive integer');
    }
    // Ids are 64-bit numbers: BigInt.
    const user = users.get(caller, BigInt(text));
    const body = { user: user.username, count: count(kv.get(key(user.id))) };
    response.start(200, [['content-type', 'application/json']]);
    response.write(encoder.encode(JSON.stringify(body)));
  },
};

export const commands = {
  run(caller, invocation) {
    const user = users.get(caller, caller.userId());
    return { text: `Hello ${user.username}, greeting number ${countUp(user.id)}.` };
  },
};
