import { expect, it } from 'vitest';
import { remoteShell, type ShellWorld } from './remote-shell.ts';

const SSH = '192.0.2.9 50022 192.0.2.1 22';
const AT_HOST: ShellWorld = {
  environment: {},
  pid: 40,
  read: () => undefined,
  interfaceOf: (address) => (address === '192.0.2.1' ? 'wan' : undefined),
};

it('whoever came by SSH came by the interface that has the address', () => {
  expect(remoteShell({ ...AT_HOST, environment: { SSH_CONNECTION: SSH } })).toEqual({ interface: 'wan' });
  const elsewhere = { SSH_CONNECTION: '::1 50022 ::1 22' };
  expect(remoteShell({ ...AT_HOST, environment: elsewhere })).toEqual({ interface: undefined });
});

it('sudo takes the variable away, and the shell that called it still has it', () => {
  const processes: Record<number, { environ: string; status: string }> = {
    40: { environ: 'SUDO_USER=x\0', status: 'Name:\tnode\nPPid:\t30\n' },
    30: { environ: 'SUDO_USER=x\0', status: 'Name:\tsudo\nPPid:\t20\n' },
    20: { environ: `HOME=/root\0SSH_CONNECTION=${SSH}\0`, status: 'Name:\tbash\nPPid:\t1\n' },
  };
  const read: ShellWorld['read'] = (pid, file) => processes[pid]?.[file];
  expect(remoteShell({ ...AT_HOST, read })).toEqual({ interface: 'wan' });
  expect(remoteShell({ ...AT_HOST, pid: 1, read })).toBeUndefined();
});

it('whoever sits at the host came by nothing', () => {
  expect(remoteShell(AT_HOST)).toBeUndefined();
  const loop: ShellWorld['read'] = (_, file) => (file === 'status' ? 'PPid:\t40\n' : undefined);
  expect(remoteShell({ ...AT_HOST, read: loop })).toBeUndefined();
});
