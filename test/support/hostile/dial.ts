import { sleep, systemClock } from '../../../src/base/clock.ts';
import { dialWebSocket, type Link } from '../../../src/link/index.ts';

const ATTEMPTS = 100;
const AGAIN_MS = 100;

/** A link to a gateway that may turn some away unheard, as one does whose budget for handshakes is spent. */
export async function dialPatiently(url: string): Promise<Link> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await dialWebSocket(url, { timeoutMs: 10_000 });
    } catch (error) {
      if (attempt === ATTEMPTS) throw error;
      await sleep(systemClock, AGAIN_MS);
    }
  }
}
