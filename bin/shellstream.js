#!/usr/bin/env node
// Plain JavaScript that an old Node can read, so that it is told so instead of failing at the first type annotation. In a
// checkout it runs the sources; the published package has none, for Node strips no types inside node_modules, and runs dist/.
import { existsSync } from 'node:fs';

const [major, minor] = process.versions.node.split('.').map(Number);
if (major < 24 || (major === 24 && minor < 15)) {
  process.stderr.write(`shellstream: needs Node 24.15 or later, and this is ${process.version}\n`);
  process.exit(1);
}

const sources = new URL('../src/roots/shellstream.ts', import.meta.url);
const built = new URL('../dist/src/roots/shellstream.js', import.meta.url);
await import(existsSync(sources) ? sources.href : built.href);
