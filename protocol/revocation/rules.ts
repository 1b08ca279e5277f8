/**
 * Who may revoke what. An issuer speaks for its own trust domain; an issuer of the local site also says whom this site does
 * not take any more, wherever that one comes from.
 */
import { assertNever } from '../errors.ts';
import { trustDomainOf } from '../identity/spiffe-id.ts';
import type { Heartbeat, Revoked, Statement } from './statement.ts';

/** Why a statement or a heartbeat is not taken. */
export type RevocationRefusal =
  | 'UNKNOWN_ISSUER'
  | 'BAD_SIGNATURE'
  /** Handed in where it is of no effect: about another trust domain than the issuer's, which is not the local site's. */
  | 'FOREIGN_DOMAIN'
  /** A cut-off later than a minute from now: credentials that nobody has issued yet. */
  | 'FUTURE_CUT_OFF'
  | 'FUTURE_HEARTBEAT'
  /** Its number comes after one that is missing. */
  | 'GAP'
  /** Another statement has its number: the issuer, or whoever has its key, says two things. */
  | 'FORK'
  | 'FULL';

/** How far clocks may be apart. */
export const CLOCK_SKEW_MS = 60_000;

/** Whether an issuer may say it now. */
export function refusalOf({ what }: Statement, nowMs: number): RevocationRefusal | undefined {
  return what.kind === 'issued-before' && what.timeMs > nowMs + CLOCK_SKEW_MS ? 'FUTURE_CUT_OFF' : undefined;
}

/**
 * Whether a statement can be of any effect at this site. One that another site made about a third, or about us, is that
 * site's own affair: it has its place in the issuer's numbers, and takes nothing away here.
 */
export function hasEffect({ issuer, what }: Statement, localSite: string): boolean {
  const about = domainOf(what);
  return about === undefined || reaches(trustDomainOf(issuer), about, localSite);
}

/** A heartbeat from the future would keep a feed fresh for as long as nobody looks at it. */
export function heartbeatRefusal({ timeMs }: Heartbeat, nowMs: number): RevocationRefusal | undefined {
  return timeMs > nowMs + CLOCK_SKEW_MS ? 'FUTURE_HEARTBEAT' : undefined;
}

/** Whether a statement of that issuer is about a peer of that trust domain: names of sessions and tokens do not tell. */
export function reaches(issuerDomain: string, peerDomain: string, localSite: string): boolean {
  return issuerDomain === peerDomain || issuerDomain === localSite;
}

function domainOf(what: Revoked): string | undefined {
  switch (what.kind) {
    case 'identity':
      return trustDomainOf(what.identity);
    case 'issued-before':
      return 'identity' in what.of ? trustDomainOf(what.of.identity) : what.of.trustDomain;
    case 'session':
    case 'token':
      return undefined;
    default:
      return assertNever(what);
  }
}
