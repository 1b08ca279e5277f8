import { levelFromTrustedSource } from '../../protocol/posture/index.ts';
import type { Clock, Timer } from '../base/clock.ts';
import type { Logger } from '../base/logger.ts';
import type { FlowTable } from '../dataplane/ports.ts';
import type { PostureReader } from '../enforcer/ports.ts';

export interface OwnSlotParts {
  readonly clock: Clock;
  readonly log: Logger;
  readonly flows: Pick<FlowTable, 'posture' | 'setPosture'>;
  readonly posture: Pick<PostureReader, 'level'>;
}

/**
 * Our own slot of the posture map is never looser than the level: it is written first on tightening and last on relaxing. Who
 * else writes more into it, by mistake for his own, would lift a lockdown in the kernel: it is put back within a second.
 */
export function guardOwnSlot({ clock, log, flows, posture }: OwnSlotParts): Disposable {
  let timer: Timer | undefined;
  let isOver = false;
  const look = async (): Promise<void> => {
    try {
      const { own } = await flows.posture();
      const { level } = posture;
      if (levelFromTrustedSource(own) > level) {
        log.error('somebody else wrote our slot of the posture map: it is put back', { own, level });
        await flows.setPosture(level);
      }
    } catch (error) {
      log.error('our slot of the posture map could not be looked at', { error });
    }
    next();
  };
  const next = (): void => {
    if (!isOver) timer = clock.after(LOOK_MS, () => void look());
  };
  next();
  return {
    [Symbol.dispose]() {
      isOver = true;
      timer?.cancel();
    },
  };
}

const LOOK_MS = 1_000;
