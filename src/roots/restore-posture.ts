/**
 * `shellstream posture restore`: after a reboot the kernel knows nothing of the level that the node was at. This applies
 * the kept one before the network comes up, and leaves it there for the gateway, which starts later.
 */
import { LOCKDOWN, type PostureLevel } from '../../protocol/posture/index.ts';
import { systemClock as clock } from '../base/clock.ts';
import { loadConfig } from '../base/config.ts';
import { loadCryptoProvider } from '../base/crypto.ts';
import { createLogger } from '../base/logger.ts';
import { openLinuxFilter } from '../dataplane/linux/index.ts';
import { levelAtStart } from '../posture/recovery.ts';
import { openPostureStore } from '../posture/store.ts';
import { openUnconfirmedStore } from '../posture/unconfirmed-store.ts';
import { bootId } from './boot-id.ts';
import { Isolation } from './isolation.ts';
import { privateDirectory } from './private-directory.ts';

export async function restorePosture(configPath: string): Promise<void> {
  const config = await loadConfig(configPath);
  const log = createLogger({ level: config.log.level }).child({ instance: config.instance });
  await privateDirectory(config.runtimeDirectory);
  await privateDirectory(config.stateDirectory);
  const place = {
    folder: config.stateDirectory,
    bootId: await bootId(config.runtimeDirectory),
    sha256: loadCryptoProvider().sha256,
  };
  const { kept, cutOffAt, problem } = await openPostureStore(place, clock.now());
  if (problem !== undefined) log.error('the kept posture cannot be read', { problem });
  const former = await formerLevel(config.stateDirectory).catch((error: unknown) => {
    log.error('what waits for a confirmation cannot be read', { error });
    return UNREADABLE;
  });
  const level = levelAtStart({ kept, cutOffAt, initial: config.posture.initial, former }, clock.now());
  await using dataplane = await openLinuxFilter(config.instance);
  await dataplane.flows.setPosture(level);
  // Above lockdown the filter on outer interfaces passes everything; the gateway attaches it.
  if (level === LOCKDOWN) await new Isolation(dataplane, config.posture).cover();
  log.warn('posture restored', { level });
}

/** What cannot be read may have guarded anything; nothing of it may keep the host open. */
const UNREADABLE: PostureLevel = 2;

/** What the console goes back to when nobody confirms what it said. */
async function formerLevel(folder: string): Promise<PostureLevel | undefined> {
  return (await openUnconfirmedStore(folder)).kept?.former.level;
}
