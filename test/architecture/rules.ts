/** The shape of the tree (DESIGN §1) as rules over its sources: each returns one line for each violation. */
import type { Source } from './source.ts';

export type Rule = (sources: readonly Source[]) => string[];

/** The layers of src, highest first: a layer imports itself and those below it. */
const LAYERS: readonly string[] = [
  'roots',
  'cli',
  'control',
  'mesh',
  'underlay',
  'gateway',
  'posture',
  'session',
  'quartermaster',
  'evidence',
  'identity',
  'enforcer',
  'dataplane',
  'link',
  'base',
];

/** All TypeScript of the project; the tests of a folder are held to fewer rules than what they test. */
export const ROOMS = ['src', 'protocol', 'certs-dev', 'bench', 'fuzz', 'native', 'deploy', 'test'] as const;

const PROTOCOL_PACKAGES = /^(@bufbuild\/protobuf|zod|yaml|@noble\/(ciphers|curves|hashes))$/;
const LONGEST_FILE = 500;

export const RULES: Readonly<Record<string, Rule>> = {
  'src imports go down the list of layers': (sources) =>
    edges(shipped(sources)).flatMap(({ from, to }) => {
      const [importing, imported] = [layerOf(from.path), layerOf(to)];
      if (importing === undefined || imported === undefined || imported <= importing) return [];
      return [`${from.path} imports ${to}, of a higher layer`];
    }),

  'src holds nothing but its layers': (sources) =>
    paths(sources)
      .filter((path) => path.startsWith('src/') && layerOf(path) === undefined)
      .map((path) => `${path} is in no layer`),

  'protocol imports nothing but protocol': (sources) =>
    edges(shipped(sources)).flatMap(({ from, to }) =>
      isIn(from.path, 'protocol') && !isIn(to, 'protocol') ? [`${from.path} imports ${to}`] : [],
    ),

  'protocol imports no builtin of Node, and few packages': (sources) =>
    shipped(sources).flatMap(({ path, imports }) =>
      imports
        .filter(({ kind }) => isIn(path, 'protocol') && kind !== 'file')
        .filter(({ kind, target }) => kind === 'builtin' || !PROTOCOL_PACKAGES.test(target ?? ''))
        .map(({ specifier }) => `${path} imports ${specifier}`),
    ),

  'protocol knows no clock, no randomness and no host': (sources) =>
    named(inRoom(shipped(sources), 'protocol'), [
      'Date.now',
      'Math.random',
      'performance',
      'process',
      'Buffer',
      'fetch',
      'console',
      'crypto.getRandomValues',
      'crypto.randomUUID',
    ]),

  // A `createRequire` or a path in a string loads an addon as well as an import does.
  'only src/dataplane/linux loads the privileged addon': (sources) =>
    loading(shipped(sources), /native\/kernel/, 'src/dataplane/linux'),
  'only src/base loads the crypto addon': (sources) => loading(shipped(sources), /native\/crypto/, 'src/base'),
  'only src/base loads the sandbox addon': (sources) => loading(shipped(sources), /native\/sandbox/, 'src/base'),

  'what ships imports no test, bench, fuzzer or development trust domain': (sources) =>
    edges(shipped(sources)).flatMap(({ from, to }) => {
      const ships = ['src', 'protocol', 'deploy'].some((room) => isIn(from.path, room));
      const mayNot = /^(test|bench|fuzz|certs-dev)\//.test(to) || isTest(to);
      return ships && mayNot ? [`${from.path} imports ${to}`] : [];
    }),

  'no cycles': (sources) => cycles(sources),

  'every relative import names a file that is there': (sources) =>
    sources.flatMap(({ path, imports }) =>
      imports.filter(({ target }) => target === undefined).map(({ specifier }) => `${path} imports ${specifier}`),
    ),

  [`no file above ${LONGEST_FILE} lines`]: (sources) =>
    sources
      .map(({ path, text }) => ({ path, lines: text.split('\n').length - 1 }))
      .filter(({ lines }) => lines > LONGEST_FILE)
      .map(({ path, lines }) => `${path} has ${lines} lines`),

  // A bench and a fuzzer watch over a bare world, whose pace is its own.
  'timers only in src/base/clock.ts': (sources) =>
    sources
      .filter(({ path }) => path !== 'src/base/clock.ts' && !isTest(path) && !/^(bench|fuzz)\//.test(path))
      .flatMap((source) => [
        ...named([source], ['setTimeout', 'setInterval', 'setImmediate']),
        ...source.imports
          .filter(({ specifier }) => specifier.startsWith('node:timers'))
          .map(({ specifier }) => `${source.path} imports ${specifier}`),
      ]),

  // A skip that the runner cannot give a reason for is a test that nobody misses.
  'tests skip through test/support/requirements.ts alone, and none is focused': (sources) =>
    sources.flatMap(({ path, names }) =>
      [...names]
        .filter((name) => /^(it|test|describe)\.(skip|skipIf|runIf|only|todo)$/.test(name))
        .map((name) => `${path} uses ${name}`),
    ),

  'no any': (sources) => sources.filter(({ saysAny }) => saysAny).map(({ path }) => `${path} says any`),

  'no comment silences the type checker': (sources) =>
    sources
      .filter(({ text }) => /^\s*(\/\/|\/?\*+)\s*@ts-(ignore|expect-error|nocheck)/m.test(text))
      .map(({ path }) => `${path} has a @ts- comment`),
};

/** What makes vectors ships no more than the tests that read them. */
const isTest = (path: string): boolean => path.endsWith('.test.ts') || path.startsWith('protocol/vectors/');
const isIn = (path: string, folder: string): boolean => path.startsWith(`${folder}/`);
const shipped = (sources: readonly Source[]): Source[] => sources.filter(({ path }) => !isTest(path));
const inRoom = (sources: readonly Source[], room: string): Source[] => sources.filter(({ path }) => isIn(path, room));
const paths = (sources: readonly Source[]): string[] => sources.map(({ path }) => path);

/** 0 is the lowest. */
function layerOf(path: string): number | undefined {
  const [room, layer, file] = path.split('/');
  const index = LAYERS.indexOf(layer ?? '');
  return room === 'src' && file !== undefined && index >= 0 ? LAYERS.length - 1 - index : undefined;
}

function edges(sources: readonly Source[]): { from: Source; to: string }[] {
  return sources.flatMap((from) =>
    from.imports.flatMap(({ kind, target }) => (kind === 'file' && target !== undefined ? [{ from, to: target }] : [])),
  );
}

function named(sources: readonly Source[], names: readonly string[]): string[] {
  return sources.flatMap((source) =>
    names.filter((name) => source.names.has(name)).map((name) => `${source.path} uses ${name}`),
  );
}

function loading(sources: readonly Source[], addon: RegExp, folder: string): string[] {
  return [...inRoom(sources, 'src'), ...inRoom(sources, 'protocol'), ...inRoom(sources, 'certs-dev')]
    .filter(({ path, strings }) => !isIn(path, folder) && [...strings].some((text) => addon.test(text)))
    .map(({ path }) => `${path} loads the addon`);
}

/** Each cycle once, from the file where the search first met it. */
function cycles(sources: readonly Source[]): string[] {
  const targets = new Map(sources.map((source) => [source.path, edges([source]).map(({ to }) => to)]));
  const found: string[] = [];
  const done = new Set<string>();
  const walk = (path: string, trail: readonly string[]): void => {
    const start = trail.indexOf(path);
    if (start >= 0) found.push([...trail.slice(start), path].join(' → '));
    if (start >= 0 || done.has(path)) return;
    for (const next of targets.get(path) ?? []) walk(next, [...trail, path]);
    done.add(path);
  };
  for (const path of targets.keys()) walk(path, []);
  return found;
}
