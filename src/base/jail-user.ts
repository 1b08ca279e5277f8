/** Whom a gateway's terminators run as when the parent is root. */
import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { ShellstreamError } from '../../protocol/errors.ts';

export interface JailUser {
  readonly uid: number;
  readonly gid: number;
}

/** The user that a package or sysusers.d made for it. */
export const TERMINATOR_USER = 'shellstream-terminator';

/** systemd's range for users that exist only while something runs as them (`UID/GID ranges`, DynamicUser=). */
export const DYNAMIC = { first: 61_184, last: 65_519 } as const;

/** As `jailUser`, of this host. */
export async function jailUserOfHost(instance: string): Promise<JailUser> {
  const passwd = await readFile('/etc/passwd', 'utf8');
  // Names are uids, and names of users too. No systemd: none.
  const borrowed = await readdir('/run/systemd/dynamic-uid').catch(() => []);
  return jailUser(instance, passwd, new Set(borrowed.map(Number)));
}

/**
 * The user `shellstream-terminator` of this passwd file; else a number of the dynamic range, always the same for an instance
 * while nobody else has it. A uid shared with another service would let each signal the other.
 *
 * @param borrowed uids that systemd has given away for now
 * @throws ShellstreamError INTERNAL when that user is root, or the range is used up
 */
export function jailUser(instance: string, passwd: string, borrowed: ReadonlySet<number>): JailUser {
  const entries = passwd.split('\n').map((line) => line.split(':'));
  const own = entries.find(([name]) => name === TERMINATOR_USER);
  if (own !== undefined) return { uid: idIn(own[2]), gid: idIn(own[3]) };

  const taken = new Set([...borrowed, ...entries.flatMap(([, , uid, gid]) => [Number(uid), Number(gid)])]);
  const size = DYNAMIC.last - DYNAMIC.first + 1;
  const start = createHash('sha256').update(`terminator ${instance}`).digest().readUInt32BE();
  for (let step = 0; step < size; step++) {
    const id = DYNAMIC.first + ((start + step) % size);
    if (!taken.has(id)) return { uid: id, gid: id };
  }
  throw new ShellstreamError('INTERNAL', `no uid from ${DYNAMIC.first} to ${DYNAMIC.last} is free for terminators`);
}

function idIn(field: string | undefined): number {
  if (field === undefined || !/^[1-9]\d{0,9}$/.test(field)) {
    throw new ShellstreamError('INTERNAL', `the user ${TERMINATOR_USER} has the id ${field ?? 'none'}`);
  }
  return Number(field);
}
