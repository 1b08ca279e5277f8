/** Who may do what at the control socket, by the kernel's word about the process at its other end. */
import type { Actor } from './ports.ts';

/** `owner`: OBSERVE and ADMIN at every posture level. `observer`: OBSERVE. */
export type Standing = 'owner' | 'observer';

export interface AccessRules {
  /** Users that are site_owner on this host. */
  readonly siteOwners: ReadonlySet<number>;
  /** A group whose members may look, by their effective group; undefined: nobody else may. */
  readonly observerGroup?: number | undefined;
}

/** Undefined: a stranger, or a process that the kernel would not name. */
export function standingOf(credentials: Actor | undefined, rules: AccessRules): Standing | undefined {
  if (credentials === undefined) return undefined;
  if (rules.siteOwners.has(credentials.uid)) return 'owner';
  if (rules.observerGroup !== undefined && credentials.gid === rules.observerGroup) return 'observer';
  return undefined;
}
