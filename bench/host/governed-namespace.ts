import { createNamespace, type Namespace } from '../../test/support/namespaces.ts';
import { ifindexOf } from './flows.ts';

/** A namespace with the link `gov0` up in it, for filters and routes; everything in it goes with it. */
export async function governedNamespace(
  label: string,
): Promise<{ readonly namespace: Namespace; readonly ifindex: number }> {
  await using stack = new AsyncDisposableStack();
  const namespace = stack.use(await createNamespace(label));
  await namespace.run('ip', ['link', 'add', 'gov0', 'type', 'veth', 'peer', 'name', 'gov1']);
  for (const link of ['gov0', 'gov1']) await namespace.run('ip', ['link', 'set', link, 'up']);
  const ifindex = await ifindexOf(namespace, 'gov0');
  stack.move();
  return { namespace, ifindex };
}
