/** What the kernel tier needs of its host. */
import { existsSync } from 'node:fs';
import { attempt } from '../support/processes.ts';
import { type StockKernel, stockKernel } from './kernel.ts';
import { EMULATOR } from './machine.ts';

export type Lack =
  | { readonly what: 'processor'; readonly found: string }
  | { readonly what: 'program'; readonly program: string; readonly debianPackage: string }
  | { readonly what: 'kernel'; readonly why: string };

export type Host =
  | { readonly is: 'able'; readonly kernel: StockKernel }
  | { readonly is: 'unable'; readonly lacks: readonly Lack[] };

const PROGRAMS = {
  [EMULATOR]: 'qemu-system-x86',
  'apt-get': 'apt',
  cpio: 'cpio',
  modprobe: 'kmod',
  setpriv: 'util-linux',
};

/** Fetches the kernel where it is not in the cache yet. */
export async function examineHost(): Promise<Host> {
  if (process.arch !== 'x64') return unable({ what: 'processor', found: process.arch });
  const lacks: Lack[] = [];
  for (const [program, debianPackage] of Object.entries(PROGRAMS)) {
    // Without /usr/sbin in PATH, as users have it, modprobe is there all the same.
    const { code } = await attempt('sh', ['-c', `PATH=$PATH:/usr/sbin:/sbin; command -v ${program}`]);
    if (code !== 0) lacks.push({ what: 'program', program, debianPackage });
  }
  if (!existsSync('/bin/busybox')) lacks.push({ what: 'program', program: 'busybox', debianPackage: 'busybox-static' });
  if (lacks.length > 0) return unable(...lacks);
  try {
    return { is: 'able', kernel: await stockKernel() };
  } catch (error) {
    return unable({ what: 'kernel', why: error instanceof Error ? error.message : String(error) });
  }
}

export function describeLack(lack: Lack): string {
  switch (lack.what) {
    case 'processor':
      return `an x86-64 processor (this is ${lack.found})`;
    case 'program':
      return `${lack.program} (Debian package ${lack.debianPackage}; deploy/setup.sh installs it)`;
    case 'kernel':
      return `Debian's kernel package: ${lack.why}`;
  }
}

const unable = (...lacks: readonly Lack[]): Host => ({ is: 'unable', lacks });
