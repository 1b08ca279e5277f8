/** What a verifier found wrong, each as exactly as it can be told. A log without findings is what its holder claims it is. */
import { assertNever } from '../errors.ts';

export type Finding =
  /** The checkpoint is missing, is no checkpoint of this log, or no known key signed it. */
  | { readonly kind: 'checkpoint'; readonly why: string }
  | { readonly kind: 'witnesses'; readonly have: number; readonly need: number; readonly wrong: readonly string[] }
  /** A file of the log is missing, or differs from what it must be at `offset`; `entry` is the first that is touched. */
  | {
      readonly kind: 'file';
      readonly path: string;
      readonly entry: number;
      readonly offset: number | undefined;
      readonly why: string;
    }
  /** All files agree with each other, and not with the checkpoint. */
  | { readonly kind: 'root'; readonly size: number }
  /** A checkpoint that somebody holds is not of this tree. */
  | {
      readonly kind: 'held';
      readonly size: number;
      readonly what: 'truncated' | 'forked' | 'rewritten' | 'unreadable';
      /** Keys that signed both sides of a fork: they, not only the log, said two things. */
      readonly signedBoth: readonly string[];
    }
  | { readonly kind: 'record'; readonly entry: number; readonly why: string }
  | { readonly kind: 'sampling'; readonly entry: number; readonly why: string }
  /** Transits that neither stand in the log nor were left out by the rule. */
  | { readonly kind: 'deleted'; readonly first: number; readonly count: number }
  /** A session that somebody knows took place, and of which no record tells. */
  | { readonly kind: 'session'; readonly id: string };

/** One line for people. */
export function describeFinding(finding: Finding): string {
  switch (finding.kind) {
    case 'checkpoint':
      return `checkpoint: ${finding.why}`;
    case 'witnesses': {
      const wrong = finding.wrong.length === 0 ? '' : `, wrong: ${finding.wrong.join(', ')}`;
      return `checkpoint: ${finding.have} cosignatures of known witnesses, ${finding.need} needed${wrong}`;
    }
    case 'file': {
      const at = finding.offset === undefined ? '' : ` byte ${finding.offset},`;
      return `${finding.path}:${at} entry ${finding.entry}: ${finding.why}`;
    }
    case 'root':
      return `the root over all ${finding.size} entries is not the checkpoint’s`;
    case 'held': {
      const both = finding.signedBoth.length === 0 ? '' : `; signed both: ${finding.signedBoth.join(', ')}`;
      return `against the held checkpoint of ${finding.size} entries: ${HELD[finding.what]}${both}`;
    }
    case 'record':
      return `record of entry ${finding.entry}: ${finding.why}`;
    case 'sampling':
      return `sampling, entry ${finding.entry}: ${finding.why}`;
    case 'deleted':
      return `transits ${finding.first} to ${finding.first + finding.count - 1}: neither notarised nor left out`;
    case 'session':
      return `session ${finding.id}: neither notarised nor left out`;
    default:
      return assertNever(finding);
  }
}

const HELD = {
  truncated: 'the log is shorter now',
  forked: 'the log has another root of that size',
  rewritten: 'entries before it were changed',
  unreadable: 'it is no checkpoint that a known key of this log signed',
} as const;
