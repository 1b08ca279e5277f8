/** In which order a tightening takes what it takes, whatever a terminator does meanwhile. */
import { beforeEach, expect, it } from 'vitest';
import { ACCORD } from '../../test/support/memory-nodes.ts';
import { plan } from '../posture/plan.ts';
import { postureSteps } from './posture-steps.ts';

let taken: string[];
/** The terminators have said their last words. */
let said: PromiseWithResolvers<void>;

beforeEach(() => {
  taken = [];
  said = Promise.withResolvers();
});

it('to 1: packets first, then who is let in, then what stands while terminators say their last words, and the routes behind those, written down before', async () => {
  const going = go(5, 1);
  const beforeTheRoutes = [
    'control',
    'page 1',
    'map 1',
    'interfaces',
    'admission 1',
    'judge',
    'tunnels closed',
    'ends',
    'snapshot',
  ];
  await expect.poll(() => taken).toEqual(beforeTheRoutes);
  said.resolve();
  await going;
  expect(taken).toEqual([...beforeTheRoutes, 'routes 1']);
});

it('to 2: a tunnel that takes its time holds up nothing that the level ends', async () => {
  said.resolve();
  await go(5, 2);
  const sessionLayer = ['judge', 'ends', 'tunnels at 2', 'snapshot', 'routes 2', 'mesh'];
  expect(taken).toEqual(['control', 'page 2', 'map 2', 'interfaces', 'admission 2', ...sessionLayer]);
});

it('from 1: who is let in first, and packets last', async () => {
  said.resolve();
  await go(1, 5);
  const sessionLayer = ['mesh', 'routes 5', 'snapshot', 'tunnels at 5', 'ends', 'judge'];
  expect(taken).toEqual(['admission 5', ...sessionLayer, 'interfaces', 'map 5', 'page 5', 'control']);
});

async function go(from: 1 | 5, to: 1 | 2 | 5): Promise<void> {
  const note = (what: string) => async (): Promise<void> => void taken.push(what);
  const steps = postureSteps({
    accord: ACCORD.accord,
    dataplane: {
      governance: { write: async ({ level }) => void taken.push(`page ${level}`) },
      flows: {
        setControl: note('control'),
        setPosture: async (level) => void taken.push(`map ${level}`),
      },
    },
    directory: { controls: [] },
    isolation: { cover: note('interfaces') },
    terminators: {
      setPosture: (level) => void taken.push(`admission ${level}`),
      judgeSessions: async () => {
        taken.push('judge');
        await said.promise;
      },
    },
    overseer: { postureChanged: note('ends') },
    overlay: { close: note('tunnels closed'), reopen: async (level) => void taken.push(`tunnels at ${level}`) },
    mesh: { nudge: () => void taken.push('mesh') },
    routes: {
      takeSnapshot: note('snapshot'),
      apply: async (level) => void taken.push(`routes ${level}`),
    },
  });
  for (const { step } of plan(from, to, steps)) await step.apply(to, 1n);
}
