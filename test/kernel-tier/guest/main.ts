import { release } from 'node:os';
import { part } from './part.ts';
import { send } from './send.ts';
import { suites } from './suites.ts';

send({ kind: 'boot', kernel: release(), boots: 1 });
await part('suites', suites);
send({ kind: 'done' });
