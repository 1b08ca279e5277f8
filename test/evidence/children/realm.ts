/**
 * A realm as a browser has it: the language, and these of the web. `realm.ts BUNDLE FOLDER ORIGIN KEY [HELD]` runs the bundle
 * in it over a log as a server has it, and prints what it found. Needs --experimental-vm-modules.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createContext, runInContext, SourceTextModule } from 'node:vm';

const [bundle = '', folder = '', origin = '', key = '', held] = process.argv.slice(2);

const realm = createContext({
  TextEncoder,
  TextDecoder,
  atob,
  btoa,
  fetchFile,
  asked: { origin, key, held: held === undefined ? [] : [new Uint8Array(readFileSync(held))] },
  tell: (text: string) => process.stdout.write(`${text}\n`),
});
const module = new SourceTextModule(readFileSync(bundle, 'utf8'), { context: realm, identifier: 'verify-log.js' });
await module.link((specifier) => {
  throw new Error(`the bundle imports ${specifier}`);
});
await module.evaluate();
Object.assign(realm, { verifier: module.namespace });
await runInContext(
  `(async () => {
    const source = verifier.logAt('https://log.example/x', fetchFile);
    const { size, entries, told } = await verifier.verify({ source, origin: asked.origin, keys: [asked.key], held: asked.held });
    tell(JSON.stringify({ size, entries, told, node: typeof process + typeof require + typeof Buffer }));
  })()`,
  realm,
);

async function fetchFile(url: string) {
  const path = join(folder, new URL(url).pathname.replace(/^\/x\//, ''));
  try {
    const bytes = readFileSync(path);
    return { ok: true, status: 200, arrayBuffer: async () => new Uint8Array(bytes).buffer };
  } catch {
    return { ok: false, status: 404, arrayBuffer: async () => new ArrayBuffer(0) };
  }
}
