/** A parent of a jail that only waits, to be killed: `jailer.ts COMMAND ARG…` says the pid of what it started. */
import { spawn } from 'node:child_process';
import type { Socket } from 'node:net';

const [command = '', ...args] = process.argv.slice(2);
const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'inherit', 'pipe'] });
const channel = child.stdio[3] as Socket;
channel.once('data', () => console.log(`started ${child.pid}`));
