import { expect, test } from 'vitest';
import { DYNAMIC, jailUser, TERMINATOR_USER } from './jail-user.ts';

const PASSWD = 'root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1::/:/bin/false\n';
const nobody: ReadonlySet<number> = new Set();

test('is the user that was made for it, where there is one', () => {
  expect(jailUser('main', `${PASSWD}${TERMINATOR_USER}:x:987:986::/:/bin/false\n`, nobody)).toEqual({
    uid: 987,
    gid: 986,
  });
});

test.each(['0', '', '-1', '1e3', '0x10', '012', '12345678901'])('is no user whose uid is %j', (uid) => {
  expect(() => jailUser('main', `${TERMINATOR_USER}:x:${uid}:5::/:/bin/false`, nobody)).toThrow('has the id');
  expect(() => jailUser('main', `${TERMINATOR_USER}:x:5:${uid}::/:/bin/false`, nobody)).toThrow('has the id');
});

test('is not a user whose name only begins like it', () => {
  const { uid } = jailUser('main', `${TERMINATOR_USER}2:x:987:986::/:/bin/false\n`, nobody);
  expect(uid).toBeGreaterThanOrEqual(DYNAMIC.first);
});

test('without one it is of the dynamic range, the same for an instance and another for another', () => {
  const ids = Array.from({ length: 50 }, (_, index) => jailUser(`instance-${index}`, PASSWD, nobody).uid);
  for (const id of ids) expect(id >= DYNAMIC.first && id <= DYNAMIC.last).toBe(true);
  expect(new Set(ids).size).toBeGreaterThan(45);
  expect(jailUser('instance-7', PASSWD, nobody)).toEqual({ uid: ids[7], gid: ids[7] });
});

test('a uid or gid that somebody has is passed over: a shared uid may be signalled', () => {
  const { uid } = jailUser('main', PASSWD, nobody);
  const next = uid === DYNAMIC.last ? DYNAMIC.first : uid + 1;
  expect(jailUser('main', `${PASSWD}other:x:${uid}:100::/:/bin/false`, nobody).uid).toBe(next);
  expect(jailUser('main', `${PASSWD}other:x:100:${uid}::/:/bin/false`, nobody).uid).toBe(next);
  expect(jailUser('main', PASSWD, new Set([uid])).uid).toBe(next);
});

test('the last of the range is followed by its first, and a range that is used up by none', () => {
  const all = Array.from({ length: DYNAMIC.last - DYNAMIC.first + 1 }, (_, index) => DYNAMIC.first + index);
  for (const free of [DYNAMIC.first, DYNAMIC.last]) {
    const borrowed = new Set(all.filter((id) => id !== free));
    expect(jailUser('main', PASSWD, borrowed).uid).toBe(free);
  }
  expect(() => jailUser('main', PASSWD, new Set(all))).toThrow('is free');
});
