import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { describeFinding, parseSecret, parseVerifierKey, verifyLog } from '../../protocol/evidence/index.ts';
import { sleep, systemClock } from '../base/clock.ts';
import { nodeCrypto } from '../base/crypto-node.ts';
import type { Logger } from '../base/logger.ts';
import { SimulatedClock } from '../base/simulated-clock.ts';
import type { RestoreParts } from './backup.ts';
import { nodeEd25519, noteSigner } from './ed25519.ts';
import type { EvidencePlace } from './evidence-place.ts';
import { EvidenceStore } from './evidence-store.ts';
import { EvidenceFolder, notarisation, ORIGIN, sha256, type VerifyOptions } from './fixtures.ts';
import { LogDirectory } from './log-directory.ts';

/** A node's evidence in a folder that goes with the test. */
export class StoreWorld implements Disposable {
  readonly folder = new EvidenceFolder();
  readonly path = join(this.folder.path, 'evidence');
  readonly logPath = join(this.path, 'log');
  readonly clock = new SimulatedClock();
  readonly lines: string[] = [];
  #sleptMs = 0;

  open(place: Partial<EvidencePlace> = {}): Promise<EvidenceStore> {
    return EvidenceStore.open({
      place: {
        directory: this.path,
        origin: ORIGIN,
        keys: [join(this.path, 'log.key')],
        budgetBytes: 8 << 20,
        retentionDays: 90,
        uptime: { boot: 'one', ms: () => this.clock.monotonic() + this.#sleptMs },
        ...place,
      },
      clock: this.clock,
      crypto: nodeCrypto,
      log: this.#log,
      // Where each record is committed at once.
      posture: () => ({ level: 2, epoch: 1n }),
      notarisation,
      isLive: () => false,
    });
  }

  /** Time passes, and no timer notices. */
  sleep(ms: number): void {
    this.#sleptMs += ms;
    this.clock.setWall(this.clock.now() + ms);
  }

  /** The published one, when it bears so many signatures and, if told, so many entries. */
  async checkpoint(store: EvidenceStore, signatures: number, size = 0): Promise<Uint8Array> {
    const path = join(this.logPath, 'checkpoint');
    await this.until(() => {
      const lines = existsSync(path) ? readFileSync(path, 'utf8').split('\n') : [];
      const signed = lines.filter((line) => line.startsWith('— ')).length;
      return store.published === store.state.entries && store.published >= size && signed === signatures;
    });
    return new Uint8Array(readFileSync(path));
  }

  /** As time goes by; soon real time, too, which a disk or a witness may need on a busy machine. */
  async until(isTrue: () => boolean): Promise<void> {
    for (let i = 0; i < 200 && !isTrue(); i += 1) {
      await this.clock.advance(1_000);
      if (i >= 20) await sleep(systemClock, 100);
    }
    if (!isTrue()) throw new Error('it did not come to pass');
  }

  /** By an outsider with one verifier key; `told` are the findings in words. */
  async verified(key: string, options: VerifyOptions = {}) {
    const { witnesses = [], ...rest } = options;
    const trust = { origin: ORIGIN, keys: [parseVerifierKey(sha256, key)], witnesses };
    const source = new LogDirectory(this.logPath);
    const report = await verifyLog({ sha256, ed25519: nodeEd25519, source, trust, ...rest });
    return { ...report, told: report.findings.map(describeFinding) };
  }

  /** All but the keys. */
  lose(): void {
    for (const name of ['spool', 'log', 'backup']) rmSync(join(this.path, name), { recursive: true, force: true });
  }

  restoring(held: readonly Uint8Array[] = []): RestoreParts {
    const line = readFileSync(join(this.path, 'log.key'), 'utf8').trim();
    const signers = [noteSigner(sha256, ORIGIN, parseSecret(line).seed)];
    return { sha256, randomBytes: nodeCrypto.randomBytes, origin: ORIGIN, signers, directory: this.path, held };
  }

  /** How a signing key would look where it must not be seen. */
  secretOf(file: string): readonly string[] {
    const { seed } = parseSecret(readFileSync(join(this.path, file), 'utf8').trim());
    return (['base64', 'base64url', 'hex'] as const).map((form) => Buffer.from(seed).toString(form));
  }

  [Symbol.dispose](): void {
    this.folder[Symbol.dispose]();
  }

  get #log(): Logger {
    const tell = (message: string, fields?: unknown): void => {
      this.lines.push(
        `${message} ${JSON.stringify(fields, (_, value) => (value instanceof Error ? value.message : value))}`,
      );
    };
    const log: Logger = { debug: tell, info: tell, warn: tell, error: tell, child: () => log };
    return log;
  }
}
