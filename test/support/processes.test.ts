import { describe, expect, test } from 'vitest';
import { attempt, run, start } from './processes.ts';

const node = (script: string): [string, string[]] => [process.execPath, ['-e', script]];

describe('run and attempt', () => {
  test('give both streams and the code', async () => {
    const end = await attempt(...node('console.log("out"); console.error("err"); process.exit(3)'));
    expect(end).toEqual({ code: 3, signal: null, stdout: 'out\n', stderr: 'err\n' });
  });

  test('an exit code other than 0 rejects with the output', async () => {
    await expect(run(...node('console.error("why"); process.exit(3)'))).rejects.toThrow(/code 3\s+why/);
  });

  test('a program that is not there rejects', async () => {
    await expect(run('shellstream-no-such-program', [])).rejects.toThrow('ENOENT');
  });

  test('one that does not end is killed, and its output kept', async () => {
    // A shell, which says its word long before that also where everything takes ten times as long.
    const hanging = run('sh', ['-c', 'echo $$; exec sleep 1000'], { timeoutMs: 2_000 });
    const error: unknown = await hanging.catch((thrown: unknown) => thrown);
    const pid = Number(/still running\s+(\d+)/.exec(String(error))?.[1]);
    expect(pid).toBeGreaterThan(1);
    expect(() => process.kill(pid, 0)).toThrow('ESRCH');
  });

  test('input reaches it', async () => {
    expect((await run('cat', [], { input: 'words' })).stdout).toBe('words');
  });
});

describe('start', () => {
  test('a line is found whether it came before or comes after the asking', async () => {
    await using echo = start('cat', []);
    const later = echo.line(/^second/);
    echo.write('first 1\nsecond 2\n');
    expect(await later).toBe('second 2');
    expect(await echo.line(/^first/)).toBe('first 1');
  });

  test('waiting for a line of a process that ends without it rejects with its output', async () => {
    await using child = start(...node('console.log("only this")'));
    await expect(child.line(/that/)).rejects.toThrow(/code 0\s+only this/);
  });

  test('one that ignores SIGTERM is killed', async () => {
    const child = start(...node('process.on("SIGTERM", () => 1); console.log("up"); setInterval(() => 1, 1000)'));
    await child.line(/up/);
    await child[Symbol.asyncDispose]();
    expect((await child.finished).signal).toBe('SIGKILL');
  });

  test('output is bounded', async () => {
    await using child = start(...node('process.stdout.write("x".repeat(3 << 20) + "end")'));
    const { stdout } = await child.finished;
    expect(stdout.length).toBe(1 << 20);
    expect(stdout.endsWith('end')).toBe(true);
  });
});
