/**
 * What a supervisor should know. `isLive`: a restart would not help. `isReady`: the gateway takes new sessions.
 * A locked-down gateway, or one without its Workload API, is live: a restart loop would only end what still works.
 */
import { LOCKDOWN } from '../../protocol/posture/level.ts';
import type { GatewayStatus } from './ports.ts';

export interface Health {
  readonly isLive: boolean;
  readonly isReady: boolean;
  /** One sentence each, the gravest first; may be there while all is live and ready. */
  readonly problems: readonly string[];
}

export function healthOf(status: GatewayStatus): Health {
  const found = CHECKS.flatMap((check) => check(status));
  return {
    isLive: !found.some(({ ends }) => ends === 'life'),
    isReady: found.every(({ ends }) => ends === 'nothing'),
    problems: found.map(({ text }) => text),
  };
}

interface Problem {
  readonly ends: 'life' | 'readiness' | 'nothing';
  readonly text: string;
}

const CHECKS: readonly ((status: GatewayStatus) => readonly Problem[])[] = [
  lease,
  posture,
  sources,
  svid,
  workloadApi,
  tunnel,
  terminators,
  bundles,
  evidence,
  holds,
  revocations,
];

function lease({ leaseRemainingMs }: GatewayStatus): readonly Problem[] {
  if (leaseRemainingMs === undefined) return [{ ends: 'readiness', text: 'the data plane has no lease yet' }];
  if (leaseRemainingMs > 0) return [];
  // The daemon answers and yet does not renew: its loop is stuck, which a restart mends.
  return [{ ends: 'life', text: `the data plane's lease lapsed ${seconds(-leaseRemainingMs)} ago: all flows drop` }];
}

function posture({ posture }: GatewayStatus): readonly Problem[] {
  if (posture.effective !== LOCKDOWN) return [];
  const holders = posture.sources.filter(({ governs }) => governs).map(({ source }) => source);
  return [{ ends: 'readiness', text: `posture level 1, held by ${holders.join(', ')}: nothing remote is admitted` }];
}

function sources({ posture }: GatewayStatus): readonly Problem[] {
  return posture.problems.map((text) => ({ ends: 'nothing', text }));
}

function svid({ identity, nowMs }: GatewayStatus): readonly Problem[] {
  const { svidExpiresAtMs } = identity;
  if (svidExpiresAtMs === undefined) return [{ ends: 'readiness', text: 'no SVID' }];
  const leftMs = svidExpiresAtMs - nowMs;
  if (leftMs <= 0) return [{ ends: 'readiness', text: `the SVID expired ${seconds(-leftMs)} ago` }];
  if (leftMs <= SOON_MS) return [{ ends: 'nothing', text: `the SVID expires in ${seconds(leftMs)}` }];
  return [];
}

function workloadApi({ identity }: GatewayStatus): readonly Problem[] {
  return identity.workloadApiConnected
    ? []
    : [{ ends: 'nothing', text: `the Workload API does not answer: ${identity.detail}` }];
}

function tunnel({ tunnel }: GatewayStatus): readonly Problem[] {
  return tunnel.driver === 'none' ? [{ ends: 'readiness', text: `no tunnel driver: ${tunnel.why}` }] : [];
}

function terminators({ counts }: GatewayStatus): readonly Problem[] {
  return counts.terminators > 0 ? [] : [{ ends: 'readiness', text: 'no terminator listens: nobody can come in' }];
}

function bundles({ identity, nowMs }: GatewayStatus): readonly Problem[] {
  return identity.bundles
    .filter(({ stale }) => stale)
    .map(({ trustDomain, refreshedAtMs }) => ({
      ends: 'nothing',
      text: `the trust bundle of ${trustDomain} is stale: ${seconds(nowMs - refreshedAtMs)} old`,
    }));
}

function holds({ counts }: GatewayStatus): readonly Problem[] {
  const { heldPeers } = counts;
  if (heldPeers === 0) return [];
  return [{ ends: 'nothing', text: `peers of the mesh that are held: ${heldPeers} (shellstream anchor list)` }];
}

function revocations({ revocationsStale: why }: GatewayStatus): readonly Problem[] {
  return why === undefined ? [] : [{ ends: 'nothing', text: `nobody new is admitted at level 3 and below: ${why}` }];
}

function evidence({ evidence }: GatewayStatus): readonly Problem[] {
  const {
    state,
    detail,
    usedBytes,
    budgetBytes,
    isReserveHeld,
    witnesses,
    quartermaster,
    slowestCommitMs,
    retentionHeld,
  } = evidence;
  switch (state) {
    case 'off':
      return [{ ends: 'nothing', text: 'no evidence is kept: the configuration says so' }];
    case 'failed':
      return [{ ends: 'readiness', text: `no evidence can be kept, so no session is admitted: ${detail}` }];
    case 'full':
      return [{ ends: 'readiness', text: 'there is no room for evidence, so no session is admitted' }];
    case 'recording': {
      const used = Math.floor((100 * usedBytes) / Math.max(1, budgetBytes));
      return [
        ...(used < NEARLY_FULL_PERCENT ? [] : [`${used} % of the room for evidence is used: full, it admits nobody`]),
        ...(isReserveHeld ? [] : ['the room that is kept for evidence of the console is not there: the disk is full']),
        ...(detail === '' ? [] : [`the evidence log cannot be published: ${detail}`]),
        // Of those that are needed the line above tells already.
        ...(slowestCommitMs < SLOW_COMMIT_MS
          ? []
          : [
              `the disk of the evidence is slow: a commit took ${slowestCommitMs} ms, and each handshake waits for one`,
            ]),
        ...(retentionHeld === '' ? [] : [retentionHeld]),
        ...(quartermaster === undefined || quartermaster.problem === ''
          ? []
          : [`Quartermaster is not reached, ${quartermaster.behind} entries wait: ${quartermaster.problem}`]),
        ...witnesses.flatMap(({ name, problem }) =>
          problem === undefined || detail !== '' ? [] : [`the witness ${name} does not cosign: ${problem}`],
        ),
      ].map((text) => ({ ends: 'nothing', text }));
    }
  }
}

/** Of a small room one eighth is the console's: at 87 nobody is admitted any more. */
const NEARLY_FULL_PERCENT = 70;
/** A disk syncs in a few; what renews the lease waits as long, and the lease lasts seconds. */
const SLOW_COMMIT_MS = 100;

function seconds(ms: number): string {
  return `${Math.round(ms / 1_000)} s`;
}

// An agent renews at half the lifetime; a minute before the end it has failed to for long.
const SOON_MS = 60_000;
