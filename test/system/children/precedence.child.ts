/** Says as JSON the nice values of this thread, and of processes that it starts, while it has precedence and after it. */
import { execFileSync } from 'node:child_process';
import { getPriority } from 'node:os';
import { openPrecedence } from '../../../src/base/precedence.ts';

const started = (): number => Number(execFileSync('nice'));

const precedence = openPrecedence();
const said = { before: getPriority(), isHad: precedence !== undefined };
if (precedence === undefined) console.log(JSON.stringify(said));
else {
  const taken = precedence.take();
  const meanwhile = { own: getPriority(), without: precedence.without(started), inherited: started() };
  taken[Symbol.dispose]();
  console.log(JSON.stringify({ ...said, meanwhile, after: getPriority() }));
}
