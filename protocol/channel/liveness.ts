/** Whether the peer still speaks: one PING a period, and an end when nothing at all came for three of them. */

/** A peer may be late twice; the third missing answer is silence. */
const SILENT_PERIODS = 3;

export class Liveness {
  #pingMs: number;
  #lastHeard: number;
  #nextPing: number;
  #lastSent = 0n;
  #due = false;
  #outstanding: { readonly opaque: bigint; readonly sentAt: number } | undefined;

  constructor(pingMs: number, now: number) {
    this.#pingMs = pingMs;
    this.#lastHeard = now;
    this.#nextPing = now + pingMs;
  }

  /** Silence is counted from now on: a shorter period does not condemn a peer for the past. */
  setPeriod(now: number, pingMs: number): void {
    this.#pingMs = pingMs;
    this.#lastHeard = now;
    this.#nextPing = Math.min(this.#nextPing, now + pingMs);
  }

  pingNow(now: number): void {
    this.#due = true;
    this.#nextPing = now + this.#pingMs;
  }

  heard(now: number): void {
    this.#lastHeard = now;
  }

  get deadline(): number {
    return Math.min(this.#nextPing, this.#silentAt);
  }

  /** What the passing of time asks for. */
  check(now: number): 'ok' | 'silent' {
    if (now >= this.#silentAt) return 'silent';
    if (now >= this.#nextPing) {
      this.#due = true;
      this.#nextPing = now + this.#pingMs;
    }
    return 'ok';
  }

  /** The opaque value of a PING to send now, if one is due. A PING that could not leave is not sent twice later. */
  takePing(now: number): bigint | undefined {
    if (!this.#due) return undefined;
    this.#due = false;
    this.#lastSent += 1n;
    this.#outstanding = { opaque: this.#lastSent, sentAt: now };
    return this.#lastSent;
  }

  /** The round trip in milliseconds; `late` for an older PING's answer, `invented` for one we never sent. */
  answered(now: number, opaque: bigint): number | 'late' | 'invented' {
    if (opaque === 0n || opaque > this.#lastSent) return 'invented';
    if (this.#outstanding?.opaque !== opaque) return 'late';
    const roundTripMs = now - this.#outstanding.sentAt;
    this.#outstanding = undefined;
    return roundTripMs;
  }

  get #silentAt(): number {
    return this.#lastHeard + SILENT_PERIODS * this.#pingMs;
  }
}
