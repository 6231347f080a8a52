// The mock host: the component as it is shipped, run under its real limits against a world in memory, without a server.
// Commands are those of `patchbay plugin mock`; Patchbay's plugins/README.md lists them.
import { execFileSync, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

const program = process.env.PATCHBAY ?? 'patchbay';

function build() {
  try {
    const stdio = ['ignore', 'pipe', 'inherit'];
    return execFileSync(program, ['plugin', 'build'], { encoding: 'utf8', stdio });
  } catch (error) {
    if (error.code !== 'ENOENT') throw new Error('the plugin was not built, see above');
    throw new Error(`there is no ${program}: put patchbay on the path, or set PATCHBAY to where it is`);
  }
}

/** What the mock host refuses: `code` is stable, `message` a sentence. */
export class Failure extends Error {
  constructor({ code, detail }) {
    super(`${code}: ${detail}`);
    this.code = code;
  }
}

export class Mock {
  #child;
  #lines;

  /** Builds this project if anything has changed, and loads it. `options` are those of `patchbay plugin mock`. */
  static async project(options = []) {
    const mock = new Mock();
    const component = build().trim().split('\n').at(-1);
    mock.#child = spawn(program, ['plugin', 'mock', component, ...options], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    mock.#lines = createInterface({ input: mock.#child.stdout })[Symbol.asyncIterator]();
    await mock.#answer();
    return mock;
  }

  async #answer() {
    const { value, done } = await this.#lines.next();
    if (done) throw new Error('the mock host has ended; what it said stands above');
    const { ok, error } = JSON.parse(value);
    if (error) throw new Failure(error);
    return ok;
  }

  /** One command; what it answers. Throws a Failure. */
  async ask(command, fields = {}) {
    this.#child.stdin.write(`${JSON.stringify({ do: command, ...fields })}\n`);
    return this.#answer();
  }

  close() {
    this.#child.stdin.end();
  }
}
