/** Writes `mesh.json` from `inputs.json`: `node protocol/vectors/session/generate.ts`. The same bytes each time. */
import { readFileSync, writeFileSync } from 'node:fs';
import { nodeCrypto } from '../../../src/base/crypto-node.ts';
import { playSession } from './play.ts';

const here = (name: string): URL => new URL(name, import.meta.url);
const inputs = JSON.parse(readFileSync(here('inputs.json'), 'utf8'));
writeFileSync(here('mesh.json'), `${JSON.stringify(playSession(inputs, nodeCrypto), undefined, 2)}\n`);
