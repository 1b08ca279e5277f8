import { expect, test } from 'vitest';
import { connect, createNamespace } from './namespaces.ts';
import { attempt, run } from './processes.ts';
import { describeWith } from './requirements.ts';

describeWith(['root', 'namespaces'], 'network namespaces of a test', () => {
  test('two of them pass packets over a veth pair, IPv4 and IPv6, and nothing is left of them', async () => {
    const names: string[] = [];
    {
      await using left = await createNamespace('left');
      await using right = await createNamespace('right');
      names.push(left.name, right.name);
      await connect(
        { in: left, name: 'wan', addresses: ['10.9.0.1/30', 'fd00:9::1/64'] },
        { in: right, name: 'wan', addresses: ['10.9.0.2/30', 'fd00:9::2/64'] },
      );
      await left.run('ping', ['-c1', '-W5', '10.9.0.2']);
      await left.run('ping', ['-c1', '-W5', 'fd00:9::2']);
      const nobody = await left.attempt('ping', ['-c1', '-W1', '10.9.0.3']);
      expect(nobody.code).not.toBe(0);
    }
    const { stdout } = await run('ip', ['netns', 'list']);
    for (const name of names) expect(stdout).not.toContain(name);
  });

  test('a process started inside runs on this Node, sees only its own links, and ends with the namespace', async () => {
    let pid: number;
    {
      await using alone = await createNamespace('alone');
      const child = alone.startNode('test/support/children/links.ts');
      expect(await child.line(/^links /)).toBe(`links lo ${process.version}`);
      pid = child.pid;
    }
    expect(() => process.kill(pid, 0)).toThrow('ESRCH');
  });

  test('the namespace goes though the test throws', async () => {
    let name = '';
    const failing = async (): Promise<void> => {
      await using doomed = await createNamespace('doomed');
      name = doomed.name;
      throw new Error('the test failed');
    };
    await expect(failing()).rejects.toThrow('the test failed');
    expect((await attempt('ip', ['-n', name, 'link'])).code).not.toBe(0);
  });
});
