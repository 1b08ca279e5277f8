import { createNamespace, type Namespace } from '../../test/support/namespaces.ts';

/** A gateway's worth of entries: so many sessions, each with so many granted targets. */
export const SESSIONS = 64;
export const TARGETS = 500;
export const ENTRIES = SESSIONS * TARGETS;

/** The n-th target of a session: an address of its own, one TCP port. */
export function target(session: number, index: number): { readonly address: Uint8Array; readonly port: number } {
  return { address: Uint8Array.of(10, session, index >> 8, index & 0xff), port: 443 };
}

/** A namespace with the link `gov0` up in it; everything in it goes with it. */
export async function governedNamespace(label: string): Promise<{ namespace: Namespace; ifindex: number }> {
  const namespace = await createNamespace(label);
  try {
    await namespace.run('ip', ['link', 'add', 'gov0', 'type', 'veth', 'peer', 'name', 'gov1']);
    for (const link of ['gov0', 'gov1']) await namespace.run('ip', ['link', 'set', link, 'up']);
    const { stdout } = await namespace.run('cat', ['/sys/class/net/gov0/ifindex']);
    return { namespace, ifindex: Number(stdout) };
  } catch (error) {
    await namespace[Symbol.asyncDispose]();
    throw error;
  }
}
