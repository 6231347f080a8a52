// Makes the component: src/plugin.js, with the engine that runs it, for the world in wit/plugin.wit.
import { mkdir, writeFile } from 'node:fs/promises';
import { componentize } from '@bytecodealliance/componentize-js';

const { component } = await componentize({
  sourcePath: 'src/plugin.js',
  witPath: 'wit',
  worldName: 'plugin',
  // What is left out here is not imported: the plugin reaches the host, and nothing else.
  disableFeatures: ['stdio', 'random', 'clocks', 'http', 'fetch-event'],
});
await mkdir('target', { recursive: true });
await writeFile('target/component.wasm', component);
