/** Says as JSON the nice values of its threads, and of processes that it starts, while it has precedence and after it. */
import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { getPriority } from 'node:os';
import { openPrecedence } from '../../../src/base/precedence.ts';

const started = (): number => Number(execFileSync('nice'));
const own = (): readonly number[] => [
  ...new Set(readdirSync('/proc/self/task').map((thread) => getPriority(Number(thread)))),
];

const precedence = openPrecedence();
const said = { before: own(), isHad: precedence !== undefined };
if (precedence === undefined) console.log(JSON.stringify(said));
else {
  const taken = precedence.take();
  const meanwhile = { own: own(), without: precedence.without(started), inherited: started() };
  taken[Symbol.dispose]();
  console.log(JSON.stringify({ ...said, meanwhile, after: own() }));
}
