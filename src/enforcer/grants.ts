/** What GRANT says: as this side answers an initiator, and as it takes the answer of a responder. */
import { type Grant, type Prefix, targetFloor } from '../../protocol/capability/index.ts';
import type { GrantBody } from '../../protocol/channel/grant.ts';
import type { CryptoProvider } from '../../protocol/noise/crypto.ts';
import type { Accord } from '../../protocol/posture/index.ts';
import type { Clock } from '../base/clock.ts';
import type { DataPlane } from '../dataplane/ports.ts';
import type { Judged } from './admit.ts';
import type { Approached } from './approach.ts';
import { advertisedBy, type TunnelTerms } from './mesh-member.ts';
import type { Overlay } from './overlay.ts';
import type { AdmitInput, PostureReader } from './ports.ts';

export interface GrantingParts {
  readonly crypto: CryptoProvider;
  readonly posture: PostureReader;
  readonly clock: Clock;
  readonly accordHash: Uint8Array;
  readonly overlay?: Overlay;
  /** What lies behind us, for a peer that offers us targets of its own. Absent: nothing. */
  readonly advertiseTo?: (spiffeId: string) => readonly Prefix[];
}

/** @param expiresAt of the session, wall time in milliseconds */
export function answerTo(
  parts: GrantingParts,
  judged: Judged,
  input: AdmitInput,
  secret: Uint8Array,
  expiresAt: number,
): GrantBody {
  const { crypto, posture, clock, overlay, accordHash, advertiseTo } = parts;
  const { body, grant, negotiated } = judged;
  const mesh = body.wireguard !== undefined && overlay !== undefined;
  return {
    mode: grant.mode,
    capabilities: grant.capabilities,
    targets: grant.targets,
    advertise: mesh ? advertisedBy(judged, advertiseTo) : [],
    reachable: grant.reachable,
    lifetimeMs: Math.max(1, Math.floor(expiresAt - clock.now())),
    effectiveLevel: negotiated.effective,
    governedBy: negotiated.governedBy,
    postureLevel: posture.level,
    postureEpoch: posture.epoch,
    accordHash,
    secret,
    ...(mesh ? { wireguard: overlay.offer(crypto, input.ephemeralKey, input.handshakeHash) } : {}),
  };
}

/** The grant under our own accord: what a target of the peer may carry at which level, we say for our side. */
export function ownView(accord: Accord, { offer: { sessionType } }: Approached, answer: GrantBody): Grant {
  return {
    mode: answer.mode,
    capabilities: answer.capabilities,
    targets: answer.targets.map((target) => ({ ...target, ...targetFloor(accord, sessionType, target) })),
    reachable: answer.reachable,
    lifetimeMs: answer.lifetimeMs,
  };
}

/** @param expiresAt of the session, wall time in milliseconds; the data plane counts in boot time */
export function tunnelTerms(
  { clock, dataplane }: { readonly clock: Clock; readonly dataplane: DataPlane },
  presharedKey: Uint8Array,
  expiresAt: number,
): TunnelTerms {
  const leftMs = Math.max(0, Math.floor(expiresAt - clock.now()));
  return { presharedKey, expiresAtBootNs: dataplane.bootTimeNs() + BigInt(leftMs) * 1_000_000n };
}
