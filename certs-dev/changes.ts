/** A counter that can be waited on: every stream waits for the change after the one it has sent. */
export class Changes {
  #version = 0;
  #next = Promise.withResolvers<void>();

  get version(): number {
    return this.#version;
  }

  announce(): void {
    this.#version += 1;
    const { resolve } = this.#next;
    this.#next = Promise.withResolvers();
    resolve();
  }

  /** Resolves once something after `version` was announced, or when the signal aborts. */
  async after(version: number, signal: AbortSignal): Promise<void> {
    while (this.#version === version && !signal.aborted) {
      const { promise, resolve } = Promise.withResolvers<void>();
      signal.addEventListener('abort', () => resolve(), { once: true });
      await Promise.race([this.#next.promise, promise]);
    }
  }
}
