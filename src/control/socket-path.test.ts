import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { chmod, chown, mkdir, readdir, stat, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { describeWith } from '../../test/support/requirements.ts';
import { ControlWorld } from './control-world.ts';
import { startControl } from './server.ts';

let world: ControlWorld;

beforeEach(async () => {
  world = await ControlWorld.create();
});

afterEach(() => world[Symbol.asyncDispose]());

describe('the socket’s path', () => {
  it('is 0600 in a folder of 0700, with nothing beside it', async () => {
    await world.start();
    expect(((await stat(world.path)).mode & 0o777).toString(8)).toBe('600');
    expect(((await stat(join(world.folder, 'test'))).mode & 0o777).toString(8)).toBe('700');
    expect(await readdir(join(world.folder, 'test'))).toEqual(['control.sock']);
  });

  it('is gone when the gateway has gone', async () => {
    const server = await world.start();
    await server[Symbol.asyncDispose]();
    expect(await readdir(join(world.folder, 'test'))).toEqual([]);
  });

  it('of a gateway that was killed is taken over', async () => {
    await mkdir(join(world.folder, 'test'), { mode: 0o700 });
    const script = `require('net').createServer().listen(${JSON.stringify(world.path)}, () => process.kill(process.pid, 'SIGKILL'))`;
    await promisify(execFile)(process.execPath, ['-e', script]).catch(() => {});
    expect((await stat(world.path)).isSocket()).toBe(true);
    await world.start();
    expect((await (await world.console()).status()).instance).toBe('test');
  });

  it('of a live gateway is refused, and that gateway keeps it', async () => {
    await world.start();
    await expect(startControl(world.options())).rejects.toThrow(/another gateway answers there/);
    expect((await (await world.console()).status()).instance).toBe('test');
  });

  it('is refused where a symbolic link lies, even to a socket', async () => {
    await mkdir(join(world.folder, 'test'), { mode: 0o700 });
    const elsewhere = join(world.folder, 'elsewhere.sock');
    const other = createServer().listen(elsewhere);
    world.stack.defer(() => void other.close());
    await once(other, 'listening');
    await symlink(elsewhere, world.path);
    await expect(startControl(world.options())).rejects.toThrow(/no socket lies there/);
  });

  it('is refused where a file lies, and the file is kept', async () => {
    await mkdir(join(world.folder, 'test'), { mode: 0o700 });
    await writeFile(world.path, 'mine');
    await expect(startControl(world.options())).rejects.toThrow(/no socket lies there/);
    expect((await stat(world.path)).size).toBe(4);
  });

  it('is refused in a folder that others may write to, and in one behind a symbolic link', async () => {
    await mkdir(join(world.folder, 'test'));
    await chmod(join(world.folder, 'test'), 0o777);
    await expect(startControl(world.options())).rejects.toThrow(/others may write/);
    await symlink(join(world.folder, 'test'), join(world.folder, 'link'));
    await expect(
      startControl({ ...world.options(), path: join(world.folder, 'link', 'control.sock') }),
    ).rejects.toThrow(/no folder/);
  });

  it('is refused when it does not fit in a socket address', async () => {
    await expect(startControl({ ...world.options(), path: join(world.folder, 'x'.repeat(98)) })).rejects.toThrow(
      /98 bytes/,
    );
  });
});

describeWith(['root'], 'the socket’s path as root', () => {
  it('is refused in a folder of another user', async () => {
    await mkdir(join(world.folder, 'test'), { mode: 0o700 });
    await chown(join(world.folder, 'test'), 65534, 65534);
    await expect(startControl(world.options())).rejects.toThrow(/another user/);
  });
});
