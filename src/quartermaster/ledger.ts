/**
 * Where submissions become durable: in the store of one process, or in a stream that several replicas share. What is
 * acknowledged is held by what the ledger stands on, whatever becomes of this process.
 */
import type { LogName, Submission } from '../../protocol/quartermaster/index.ts';
import type { Listeners } from '../base/listeners.ts';
import type { NewProposal } from './store.ts';
import type { StoreReader } from './store-reader.ts';

export interface Ledger extends AsyncDisposable {
  /** The sequence that is expected next. */
  position(log: LogName): Promise<number>;
  /**
   * Resolves with the sequence expected next once all is durable; what was held already counts as taken.
   * @throws ShellstreamError EVIDENCE_GAP with `expected`, EVIDENCE_FORK, EVIDENCE_FULL, EVIDENCE_FAILED
   */
  submit(submission: Submission): Promise<number>;
  /** Its number. The token is used up, also when this throws. @throws ShellstreamError REQUEST_TOKEN_SPENT */
  propose(proposal: NewProposal): Promise<number>;
  readonly reader: StoreReader;
  /** After something new can be read. */
  readonly arrivals: Listeners<'arrived'>;
}
