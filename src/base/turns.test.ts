import { expect, test } from 'vitest';
import { Turns } from './turns.ts';

const NEVER = new AbortController().signal;

/** What runs, in order, each until it is let go. */
function scene(most: number) {
  const turns = new Turns(most);
  const running: string[] = [];
  const ends = new Map<string, PromiseWithResolvers<string>>();
  return {
    running,
    take(name: string, signal = NEVER): Promise<string> {
      const end = Promise.withResolvers<string>();
      ends.set(name, end);
      const run = async (): Promise<string> => {
        running.push(name);
        return await end.promise.finally(() => running.splice(running.indexOf(name), 1));
      };
      return turns.take(run, signal);
    },
    end: (name: string): void => ends.get(name)?.resolve(name),
    fail: (name: string): void => ends.get(name)?.reject(new Error(name)),
  };
}

/** Everything that can go on without anybody's word has gone on. */
const settled = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));

test('so many run at once, the others in order, also behind one that fails', async () => {
  const { take, running, end, fail } = scene(2);
  const all = ['a', 'b', 'c', 'd'].map((name) => take(name).catch(() => 'failed'));
  await settled();
  expect(running).toEqual(['a', 'b']);
  fail('b');
  await settled();
  expect(running).toEqual(['a', 'c']);
  end('a');
  await settled();
  expect(running).toEqual(['c', 'd']);
  end('c');
  end('d');
  expect(await Promise.all(all)).toEqual(['a', 'failed', 'c', 'd']);
});

test('who gives up in the line never runs, and nobody waits behind it', async () => {
  const { take, running, end } = scene(1);
  const first = take('a');
  const tired = new AbortController();
  const second = take('b', tired.signal).catch(() => 'gave up');
  const third = take('c');
  tired.abort();
  expect(await second).toBe('gave up');
  end('a');
  await settled();
  expect(running).toEqual(['c']);
  end('c');
  expect(await Promise.all([first, third])).toEqual(['a', 'c']);
});

test('a place is free again after all have gone, and one who gave up while running keeps it until the end', async () => {
  const { take, running, end } = scene(1);
  const tired = new AbortController();
  const first = take('a', tired.signal);
  await settled();
  tired.abort();
  const second = take('b');
  await settled();
  expect(running).toEqual(['a']);
  end('a');
  await first;
  end('b');
  await second;
  void take('c');
  await settled();
  expect(running).toEqual(['c']);
});

test('nothing runs under a signal that has aborted before', async () => {
  const { take, running } = scene(1);
  expect(await take('a', AbortSignal.abort()).catch(() => 'no')).toBe('no');
  void take('b');
  await settled();
  expect(running).toEqual(['b']);
});
