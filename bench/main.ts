/** `node bench/main.ts NAME [--json] [--runs N]`: measures ours and its peers in one interleaved run. */
import { parseArgs } from 'node:util';
import { type Bench, measure, type Report } from './harness.ts';

const BENCHES: Readonly<Record<string, { readonly about: string; readonly open: () => Promise<Bench> }>> = {
  handshake: {
    about: 'CPU of the server for one mutually authenticated session, one echo included',
    open: async () => (await import('./handshake/index.ts')).openHandshake(),
  },
  streams: {
    about: 'CPU of the server for a mebibyte through a stream of a session, each way',
    open: async () => (await import('./streams/index.ts')).openStreams(),
  },
  idle: {
    about: 'resident memory of the gateway for one of 10,000 sessions that do nothing',
    open: async () => (await import('./idle/index.ts')).openIdle(),
  },
  noise: {
    about: 'the responder’s half of Noise XX with each crypto provider',
    open: async () => (await import('./noise/index.ts')).openNoise(),
  },
  flows: {
    about: 'flow entries installed and activated a second; time of the filter per packet',
    open: async () => (await import('./flows/index.ts')).openFlows(),
  },
  tunnels: {
    about: '1,000 WireGuard peers configured; one TCP stream through the embedded device',
    open: async () => (await import('./tunnels/index.ts')).openTunnels(),
  },
  posture: {
    about: 'from the write of the posture to the last forbidden packet',
    open: async () => (await import('./posture/index.ts')).openPosture(),
  },
  drain: {
    about:
      'to level 3 with 1,000 sessions that drain, each with a stream in flight: what finished, what was lost, the last end',
    open: async () => (await import('./drain/index.ts')).openDrain(),
  },
  transitions: {
    about:
      '100 transitions to 2 and to 1 while handshakes arrive and 1,000 streams flow: whether the contract was held',
    open: async () => (await import('./transitions/index.ts')).openTransitions(),
  },
  evidence: {
    about: 'artifacts made durable a second, anchored one by one, their CPU and bytes; verify-log',
    open: async () => (await import('./evidence/index.ts')).openEvidence(),
  },
  quartermaster: {
    about: 'first pages of questions over many artifacts; submissions made durable a second; bytes an artifact',
    open: async () => (await import('./quartermaster/index.ts')).openQuartermaster(),
  },
  revocation: {
    about: 'a statement of revocation, from its signature to the last of 50 gateways that holds to it',
    open: async () => (await import('./revocation/index.ts')).openRevocation(),
  },
  routes: {
    about: 'adding, and restoring, 10,000 routes',
    open: async () => (await import('./routes/index.ts')).openRoutes(),
  },
};

const DEFAULT_RUNS = 5;
const MAX_RUNS = 1000;
const USAGE = `usage: node bench/main.ts NAME [--json] [--runs N]\n\n${Object.entries(BENCHES)
  .map(([name, { about }]) => `  ${name.padEnd(14)} ${about}\n`)
  .join('')}`;

process.exitCode = await main(process.argv.slice(2));

async function main(argv: readonly string[]): Promise<0 | 1 | 2> {
  const asked = parse(argv);
  if (asked === 'help') {
    process.stdout.write(USAGE);
    return 0;
  }
  if (asked === undefined) {
    process.stderr.write(USAGE);
    return 2;
  }
  try {
    await using bench = await asked.open();
    for (const figure of bench.figures) {
      const report = await measure(figure, asked.runs, (contender, run, value) => {
        process.stderr.write(`${figure.bench} ${run} ${contender}: ${value.toPrecision(4)} ${figure.unit}\n`);
      });
      process.stdout.write(asked.json ? `${JSON.stringify(report)}\n` : table(report));
    }
    return 0;
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`);
    return 1;
  }
}

function parse(argv: readonly string[]) {
  try {
    const { values, positionals } = parseArgs({
      args: [...argv],
      allowPositionals: true,
      options: { json: { type: 'boolean' }, runs: { type: 'string' }, help: { type: 'boolean' } },
    });
    if (values.help === true) return 'help';
    const [name = '', ...others] = positionals;
    const bench = Object.hasOwn(BENCHES, name) ? BENCHES[name] : undefined;
    const runs = Number(values.runs ?? DEFAULT_RUNS);
    if (bench === undefined || others.length > 0) return undefined;
    if (!Number.isInteger(runs) || runs < 1 || runs > MAX_RUNS) return undefined;
    return { open: bench.open, json: values.json === true, runs };
  } catch {
    return undefined;
  }
}

function table({ bench, unit, ours, peers, ratios, runs, worst }: Report): string {
  const rows = Object.entries(peers).map(
    ([name, value]) => `  ${name.padEnd(20)} ${String(value).padStart(12)} ${unit}   ours / theirs ${ratios[name]}\n`,
  );
  const most = worst === undefined ? '' : `, at worst ${worst}`;
  return `${bench}, medians of ${runs}\n  ${'ours'.padEnd(20)} ${String(ours).padStart(12)} ${unit}${most}\n${rows.join('')}`;
}
