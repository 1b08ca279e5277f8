/**
 * Evidence of what posture does to this node: a snapshot of what stood when level 1 came, each change as daemon and data
 * plane had it, and a receipt that the node signs. The snapshot is recorded before the
 * first session goes, the rest when the change has settled; what cannot be recorded holds no change back.
 */

import { Observer } from '../../protocol/gen/shellstream/evidence/v1/evidence_pb.ts';
import { levelFromTrustedSource } from '../../protocol/posture/index.ts';
import type { PostureLevel } from '../../protocol/posture/level.ts';
import { type ForensicState, recordSnapshot } from '../evidence/forensic-snapshot.ts';
import { signReceipt } from '../evidence/receipts.ts';
import type { Recording } from '../evidence/recorder.ts';
import type { X509Identity } from '../identity/source.ts';
import type { PostureEngine, PostureSettled } from '../posture/engine.ts';
import type { PostureSteps } from '../posture/plan.ts';
import type { EnforcerWorld } from './enforcer-world.ts';
import type { NodeEvidence } from './evidence.ts';
import { type CaptureParts, capture, SNAPSHOT_ID_BYTES, SNAPSHOT_STEP } from './forensic-capture.ts';

/** How long a tightening waits for what the kernel knows; its packets are stopped by then. */
const KERNEL_MS = 50;

export class PostureEvidence {
  readonly #world: EnforcerWorld;
  readonly #evidence: NodeEvidence;
  readonly #parts: Omit<CaptureParts, 'clock' | 'dataplane' | 'transits'>;
  #snapshot: { readonly changeEpoch: bigint; readonly state: Promise<ForensicState> } | undefined;
  #recording: Promise<void> | undefined;
  /** At which the steps were last taken. */
  #level: PostureLevel | undefined;
  #identity: X509Identity | undefined;

  constructor(
    world: EnforcerWorld,
    evidence: NodeEvidence,
    parts: Omit<CaptureParts, 'clock' | 'dataplane' | 'transits'>,
  ) {
    this.#world = world;
    this.#evidence = evidence;
    this.#parts = parts;
  }

  /** The same steps, with those of evidence before the first teardown. */
  around({ dataPlane, admission, sessionLayer }: PostureSteps): PostureSteps {
    return {
      dataPlane: [{ name: 'forensic snapshot', apply: (level, epoch) => this.#capture(level, epoch) }, ...dataPlane],
      admission,
      sessionLayer: [{ name: SNAPSHOT_STEP, apply: () => this.#recordSnapshot() }, ...sessionLayer],
    };
  }

  /** From here on each change is recorded; the level that the node came up with is now. */
  follow(engine: PostureEngine): Disposable {
    const { level, epoch, unrealised } = engine;
    const failed = unrealised.length > 0;
    void this.#settled({ from: level, to: level, epoch, heldBy: [], reason: '', seconds: 0, failed, unrealised });
    return engine.onChange((change) => void this.#settled(change));
  }

  #capture(level: PostureLevel, changeEpoch: bigint): void {
    const comesDown = level === 1 && this.#level !== undefined && this.#level > 1;
    this.#level = level;
    if (!comesDown) return;
    const { clock, dataplane } = this.#world;
    const { transits } = this.#evidence;
    const state = capture({ ...this.#parts, clock, dataplane, transits }, KERNEL_MS);
    this.#snapshot = { changeEpoch, state };
  }

  /** Durable before the first session goes; where it cannot be, the step is not taken, and is tried again until it is. */
  async #recordSnapshot(): Promise<void> {
    // A disk that is slow has more than one try wait for it: of one change there is one snapshot.
    this.#recording ??= this.#recordOnce().finally(() => {
      this.#recording = undefined;
    });
    await this.#recording;
  }

  async #recordOnce(): Promise<void> {
    const snapshot = this.#snapshot;
    if (snapshot === undefined) return;
    const { changeEpoch } = snapshot;
    const state = await snapshot.state;
    const id = this.#world.crypto.randomBytes(SNAPSHOT_ID_BYTES);
    await recordSnapshot(this.#evidence.store, id, state, { changeEpoch, late: false });
    if (this.#snapshot === snapshot) this.#snapshot = undefined;
  }

  async #settled(change: PostureSettled): Promise<void> {
    const { store } = this.#evidence;
    const { log, dataplane } = this.#world;
    const { unrealised: notRealised } = change;
    try {
      await this.#recordSnapshot();
      const atBootNs = dataplane.bootTimeNs();
      const { external, own } = await dataplane.flows.posture();
      const held = Math.min(levelFromTrustedSource(external), levelFromTrustedSource(own));
      const receipt = this.#receipt(change, notRealised, atBootNs);
      await store.recordAll([
        changed(change, Observer.DAEMON, change.to, atBootNs, notRealised),
        changed(change, Observer.DATA_PLANE, held, atBootNs, []),
        ...(receipt === undefined ? [] : [receipt]),
      ]);
    } catch (error) {
      log.error('a change of posture is not recorded', { to: change.to, error });
    }
  }

  #receipt(change: PostureSettled, notRealised: readonly string[], atBootNs: bigint): Recording | undefined {
    const { clock, accord, log } = this.#world;
    const identity = this.#ownIdentity();
    if (identity === undefined) {
      log.warn('no identity to sign a receipt with', { to: change.to });
      return undefined;
    }
    const { from, to, epoch, seconds } = change;
    return {
      case: 'enforcementReceipt',
      value: signReceipt(identity, {
        nodeId: identity.spiffeId,
        fromLevel: from,
        level: to,
        epoch,
        atMs: BigInt(clock.now()),
        atBootNs,
        tookMs: BigInt(Math.round(seconds * 1000)),
        accordHash: accord.hash,
        notRealised: [...notRealised],
      }),
    };
  }

  /** At lockdown nobody renews it: the last one signs, and its own dates say what that is worth. */
  #ownIdentity(): X509Identity | undefined {
    try {
      this.#identity = this.#world.identity.current();
    } catch {
      // The last one there was.
    }
    return this.#identity;
  }
}

function changed(
  { from, heldBy }: PostureSettled,
  observer: Observer,
  toLevel: number,
  atBootNs: bigint,
  failedSteps: readonly string[],
): Recording {
  const value = {
    fromLevel: from,
    toLevel,
    observer,
    source: heldBy.join(','),
    atBootNs,
    failedSteps: [...failedSteps],
  };
  return { case: 'postureChange', value };
}
