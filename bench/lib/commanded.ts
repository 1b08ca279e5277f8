import type { Running } from '../../test/support/processes.ts';

const PATIENCE_MS = 300_000;

/** The parent's half of `obey`. */
export class Commanded {
  readonly #child: Running;
  #commands = 0;

  private constructor(child: Running) {
    this.#child = child;
  }

  static async ready(child: Running): Promise<Commanded> {
    await child.line(/^ready$/, PATIENCE_MS);
    return new Commanded(child);
  }

  /** Takes the processor from it, until it may go on. */
  stop(): void {
    this.#child.kill('SIGSTOP');
  }

  goOn(): void {
    this.#child.kill('SIGCONT');
  }

  /** What it answers. */
  async command(...words: readonly string[]): Promise<string> {
    this.#commands += 1;
    const tag = String(this.#commands);
    this.#child.write(`${[...words, tag].join(' ')}\n`);
    const line = await this.#child.line(new RegExp(`^done ${tag} `), PATIENCE_MS);
    return line.slice(`done ${tag} `.length);
  }
}
