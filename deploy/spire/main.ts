/**
 * SPIRE's credential composer for Shellstream: a program that SPIRE's server starts as a plugin (hashicorp/go-plugin),
 * asks before it signs a workload's SVID, and takes down with itself. See README.md beside it.
 */
import { tmpdir } from 'node:os';
import { reasonOf, ShellstreamError } from '../../protocol/errors.ts';
import { systemClock } from '../../src/base/clock.ts';
import { TierComposer } from './composer.ts';
import { answerLine, readCall } from './handshake.ts';
import { HostWatch } from './host.ts';
import { hclog } from './log.ts';
import { GrpcServer } from './server.ts';
import { routes } from './services.ts';
import { SocketFolder, sweep } from './socket-folder.ts';

async function main(): Promise<number> {
  const call = readCall(process.env, tmpdir());
  if (call.kind === 'refused') {
    process.stderr.write(`shellstream-credential-composer: ${call.why}\n`);
    return 1;
  }
  // Nobody reads any more once the host is gone, and that is no reason to leave the socket's folder behind.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined);
  const log = hclog(systemClock, (line) => void process.stderr.write(line));
  try {
    log.info('ended', { why: await serve(call.folder, log) });
    return 0;
  } catch (error) {
    const why = error instanceof ShellstreamError ? error.message : String(error);
    log.error('cannot serve', { why, reason: reasonOf(error) });
    return 1;
  }
}

/** Resolves when the plugin has ended, with why. */
async function serve(parent: string, log: ReturnType<typeof hclog>): Promise<string> {
  process.umask(0o077);
  await sweep(parent, systemClock.now());
  using folder = new SocketFolder(parent);
  // What nothing else takes down: an error that nobody caught.
  process.once('exit', () => folder[Symbol.dispose]());
  const { promise: ended, resolve: end } = Promise.withResolvers<string>();
  // A terminal's Ctrl+C reaches the whole group: the host decides when its plugins go.
  process.on('SIGINT', () => undefined);
  for (const signal of ['SIGTERM', 'SIGHUP'] as const) process.once(signal, () => end(signal));
  const composer = new TierComposer(log);
  await using server = new GrpcServer(systemClock, (router, closing) =>
    routes(router, closing, { composer, log, shutdown: () => end('the host shut it down') }),
  );
  using _watch = new HostWatch({
    clock: systemClock,
    parentOf: () => process.ppid,
    gone: () => end('the host is gone'),
  });
  await server.listen(folder.socketPath);
  process.stdout.write(answerLine(folder.socketPath));
  return await ended;
}

process.exit(await main());
