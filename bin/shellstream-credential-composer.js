#!/usr/bin/env node
// SPIRE's server starts this as a plugin: see deploy/spire/README.md. Plain JavaScript for the reasons of shellstream.js.
import { existsSync } from 'node:fs';

const [major, minor] = process.versions.node.split('.').map(Number);
if (major < 24 || (major === 24 && minor < 15)) {
  process.stderr.write(`shellstream-credential-composer: needs Node 24.15 or later, and this is ${process.version}\n`);
  process.exit(1);
}

const sources = new URL('../deploy/spire/main.ts', import.meta.url);
const built = new URL('../dist/deploy/spire/main.js', import.meta.url);
await import(existsSync(sources) ? sources.href : built.href);
