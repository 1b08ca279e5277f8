import type { CryptoProvider } from '../../protocol/noise/crypto.ts';
import type { LoadedAccord } from '../base/accord-file.ts';
import type { Clock } from '../base/clock.ts';
import type { Config } from '../base/config.ts';
import type { Logger } from '../base/logger.ts';
import type { Precedence } from '../base/precedence.ts';
import type { DataPlane } from '../dataplane/ports.ts';
import type { OpenRelay } from '../enforcer/relay.ts';
import type { StandingStore } from '../enforcer/standing-store.ts';
import type { EvidencePlace } from '../evidence/evidence-place.ts';
import type { IdentitySource } from '../identity/index.ts';
import type { OpenedRevocations } from '../identity/revocation-store.ts';
import type { OpenedHolds } from '../mesh/hold-store.ts';
import type { UnconfirmedStore } from '../posture/console-statements.ts';
import type { OpenedPosture } from '../posture/store.ts';
import type { UnderlayRecords } from '../underlay/ports.ts';

/** What an enforcer needs of the world. */
export interface EnforcerWorld {
  readonly config: Config;
  readonly accord: LoadedAccord;
  readonly identity: IdentitySource;
  readonly dataplane: DataPlane;
  readonly crypto: CryptoProvider;
  readonly clock: Clock;
  readonly log: Logger;
  /** Uniform in [0, 1): jitter only. */
  readonly random: () => number;
  /** Where posture is kept, and what a former run kept there. */
  readonly posture: OpenedPosture;
  /** Where a level that waits for its confirmation is kept; absent: a crash confirms it. */
  readonly unconfirmed?: UnconfirmedStore;
  /** Where holds are kept, and what a former run kept there; absent: they end with this one. */
  readonly holds?: OpenedHolds;
  /** For tunnels whose packets go in their sessions; absent: none do. */
  readonly openRelay?: OpenRelay;
  /** Where governed routes and proposals are kept; absent: they end with this one. */
  readonly underlay?: UnderlayRecords;
  /** Where revocations are kept, and what a former run kept there; absent: they end with this one. */
  readonly revocations?: OpenedRevocations;
  /** Where sessions are kept for the next run; absent: none outlives this one. */
  readonly standing?: StandingStore;
  /** Where evidence is kept; absent: none is. */
  readonly evidence?: EvidencePlace;
  /** For changes of the level; absent where it may not be had. */
  readonly precedence?: Precedence | undefined;
}
